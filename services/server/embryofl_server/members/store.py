"""Who belongs to the federation: invites, clinics, refusals in a row, in `clinics.db` (SQLite).

The store holds public keys, what a clinic said about its data, and hashes of invite secrets: no secret itself.
"""

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embryofl.data_statistics import DataStatistics
from embryofl.errors import UserError
from embryofl.membership import SHOWS
from embryofl_server.members import invites
from embryofl_server.members.invites import EnrolmentRejected, InviteRecord
from embryofl_server.state import schema

__all__ = ["Clinic", "DeadKey", "EnrolmentRejected", "ClinicStore"]

_DEAD = "public_key, clinic, state, time, reason"
_COLUMNS = "name, public_key, state, enrolled, meaning, summary, since, reason"
_IN = ("enrolled", "suspended")  # their keys are known to the SuperLink
GONE = ("revoked", "left", "refused")  # their keys never work again; their names are free for another key


@dataclass(frozen=True)
class Clinic:
    """A clinic. `state`: enrolled, suspended, waiting (for approval), revoked, left or refused; `since` when and for what
    `reason`. Times are Unix time in seconds."""

    name: str
    public_key: str
    state: str
    enrolled: float
    meaning: str
    summary: dict[str, Any]
    since: float = 0.0
    reason: str = ""

    @property
    def statistics(self) -> DataStatistics | None:
        """What its images come to together; None where it did not tell."""
        told = self.summary.get("statistics")
        return DataStatistics.model_validate(told) if told else None

    @property
    def shows_metrics(self) -> bool:
        """Whether others may see its figures on their own; not where it did not say."""
        return self.summary.get(SHOWS) is True

    @property
    def labelled(self) -> int | None:
        """At most so many labelled embryos were enrolled (a count told as "<5" taken as 4); None where not told."""
        try:
            counts = [by_label[label] for by_label in self.summary["counts"].values() for label in ("0", "1")]
            return sum(c if isinstance(c, int) else 4 for c in counts)
        except (KeyError, TypeError, AttributeError):
            return None


@dataclass(frozen=True)
class DeadKey:
    """A key that never works again, whose it was, and why."""

    public_key: str
    clinic: str
    state: str
    time: float
    reason: str

    @property
    def words(self) -> str:
        """What whoever uses it is told."""
        return (
            f"This key never works again ({self.state} on {time.strftime('%d %B %Y', time.gmtime(self.time))}: "
            f"{self.reason.rstrip('.')}). To join again, ask the coordinator for a new invite and start with an empty "
            "state folder, so that a new key is made."
        )


class ClinicStore:
    """Invites and clinics; safe to use from several threads.

    Raises
    ------
    UserError
        When the database is of a version that this one does not know.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()  # what is read to decide on a change is read under it too
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        schema.prepare(self._db, path)
        path.chmod(0o600)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    # -- invites and enrolment --------------------------------------------------------------------------------------
    def invite(self, name: str, days: float) -> str:
        """Make (or replace) the invite of `name`; returns its secret, which is not kept.

        Raises
        ------
        UserError
            When a clinic has or had that name. One that is gone may be invited again, and needs a new key.
        """
        with self._lock:
            clinics = self.clinics()
            if name in clinics and clinics[name].state not in GONE:
                raise UserError(
                    f"A clinic called {name!r} is {clinics[name].state} already. Choose another name for another clinic. "
                    f"If this one no longer finds or trusts the hub: embryofl-server invite {name} --again, with which its "
                    "key and membership stay. If it has lost its key, revoke it first."
                )
            former = self._db.execute("SELECT clinic FROM former_names WHERE name = ?", (name,)).fetchone()
            if former:
                raise UserError(f"{name!r} was the name of {former[0]} before. Choose another one.")
            with self._transaction():
                return invites.make(self._db, name, days)

    def invites(self) -> list[InviteRecord]:
        """All invites, the oldest first."""
        with self._lock:
            return invites.listing(self._db)

    def withdraw_invite(self, name: str, why: str) -> None:
        """Take the open invite of `name` back.

        Raises
        ------
        UserError
            When there is none.
        """
        with self._lock:
            if not invites.withdraw(self._db, name, why):
                raise UserError(f"There is no unused invite for {name!r}. See them all with: embryofl-server invites")

    def enrol(  # noqa: PLR0913
        self, name: str, secret: str, public_key: str, meaning: str, summary: dict[str, Any], state: str = "enrolled"
    ) -> Clinic:
        """Turn a valid invite into a clinic. Repeating it with the same key is harmless.

        Raises
        ------
        EnrolmentRejected
            With a reason in words: what is wrong with the invite; the key is known under another name, or dead.
        """
        with self._lock:
            dead = self._dead_key(public_key)
            if dead is not None:
                raise EnrolmentRejected(dead.words)
            invites.check(self._db, name, secret, public_key)
            owner = self._db.execute("SELECT name FROM clinics WHERE public_key = ?", (public_key,)).fetchone()
            if owner and owner[0] != name:
                raise EnrolmentRejected("This key belongs to another clinic: start with an empty state folder.")
            there = self.clinics().get(name)
            if there is not None and not owner and there.state not in GONE:
                raise EnrolmentRejected(f"A clinic called {name} has joined already, with another key.")
            if not owner:
                now = time.time()
                with self._transaction():
                    self._db.execute(
                        f"INSERT OR REPLACE INTO clinics ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, '')",  # noqa: S608
                        (name, public_key, state, now, meaning, json.dumps(summary), now),
                    )
                    invites.use(self._db, secret, public_key)
        return self.clinics()[name]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing. The lock is held by the caller."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def clinics(self) -> dict[str, Clinic]:
        """All clinics by name."""
        with self._lock:
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM clinics ORDER BY name").fetchall()  # noqa: S608
        return {r[0]: Clinic(r[0], r[1], r[2], r[3], r[4], json.loads(r[5]), r[6], r[7]) for r in rows}

    def keys(self) -> dict[str, str]:
        """Public keys by name, as the SuperLink should know them. A suspended clinic stays connected and is not asked."""
        with self._lock:
            live = [c for c in self.clinics().values() if c.state in _IN and self._dead_key(c.public_key) is None]
        return {c.name: c.public_key for c in live}

    def admitted(self) -> set[str]:
        """The clinics that may take part."""
        return {c.name for c in self.clinics().values() if c.state == "enrolled"}

    # -- states, keys and names -------------------------------------------------------------------------------------
    def clinic(self, name: str) -> Clinic:
        """One clinic.

        Raises
        ------
        UserError
            When there is none of that name.
        """
        clinics = self.clinics()
        if name not in clinics:
            known = ", ".join(clinics) or "none yet"
            raise UserError(f"There is no clinic {name!r}. Clinics that have joined: {known}.")
        return clinics[name]

    def set_state(self, name: str, state: str, reason: str) -> Clinic:
        """Suspend a clinic, let it take part (again), which also forgets its refusals, or end its membership (a state of
        `GONE`): then its key is dead for ever, also for an enrolment under another name.

        Raises
        ------
        UserError
            When there is no such clinic, or it is in that state already, or cannot come to it.
        """
        with self._lock:
            clinic = self.clinic(name)
            if clinic.state == state:
                raise UserError(f"{name} is {state} already.")
            if clinic.state in GONE:
                raise UserError(
                    f"{name} is {clinic.state}, and its key never works again. Let it join with a new key: "
                    f"embryofl-server invite {name}"
                )
            if clinic.state == "waiting" and state == "suspended":
                raise UserError(f"{name} waits for approval: embryofl-server approve {name} (or refuse {name}).")
            now = time.time()
            with self._transaction():
                self._db.execute(
                    "UPDATE clinics SET state = ?, since = ?, reason = ? WHERE name = ?", (state, now, reason, name)
                )
                if state == "enrolled":
                    self._db.execute("DELETE FROM refusals WHERE clinic = ?", (name,))
                if state in GONE:
                    self._bury(clinic, state, reason, now)
            return self.clinics()[name]

    def change_key(self, name: str, before: str, public_key: str) -> Clinic:
        """Put a new key in the place of a clinic's, `before`, which never works again.

        Raises
        ------
        EnrolmentRejected
            When the clinic is gone, or has another key by now; when the new key is dead, or another clinic's.
        """
        with self._lock:
            clinic = self.clinic(name)
            if clinic.state in GONE or clinic.public_key != before:
                raise EnrolmentRejected("This clinic is not known here by this key.")
            dead = self._dead_key(public_key)
            if dead is not None:
                raise EnrolmentRejected(dead.words)
            if self._db.execute("SELECT 1 FROM clinics WHERE public_key = ?", (public_key,)).fetchone():
                raise EnrolmentRejected("This key belongs to another clinic.")
            with self._transaction():
                self._bury(clinic, "replaced", "The clinic has changed its key", time.time())
                self._db.execute("UPDATE clinics SET public_key = ? WHERE name = ?", (public_key, name))
        return self.clinics()[name]

    def set_shows(self, name: str, shows: bool) -> None:
        """Whether others may see a clinic's figures on their own."""
        with self._lock:
            summary = {**self.clinic(name).summary, SHOWS: shows}
            self._db.execute("UPDATE clinics SET summary = ? WHERE name = ?", (json.dumps(summary), name))

    def _bury(self, clinic: Clinic, state: str, reason: str, now: float) -> None:
        self._db.execute(
            "INSERT OR IGNORE INTO dead_keys VALUES (?, ?, ?, ?, ?)",
            (clinic.public_key, clinic.name, state, now, reason),
        )

    def dead_keys(self, clinic: str) -> list[DeadKey]:
        """The keys of a clinic that never work again."""
        with self._lock:
            rows = self._db.execute(f"SELECT {_DEAD} FROM dead_keys WHERE clinic = ?", (clinic,)).fetchall()  # noqa: S608
        return [DeadKey(*row) for row in rows]

    def _dead_key(self, public_key: str) -> DeadKey | None:
        row = self._db.execute(f"SELECT {_DEAD} FROM dead_keys WHERE public_key = ?", (public_key,)).fetchone()  # noqa: S608
        return DeadKey(*row) if row else None

    def rename(self, old: str, new: str) -> Clinic:
        """Give a clinic another name; the old one leads to it for ever.

        Raises
        ------
        UserError
            When there is no such clinic, or the new name is or was another's.
        """
        with self._lock:
            state = self.clinic(old).state
            if state in GONE:
                raise UserError(f"{old} is {state}: it would never learn its new name.")
            for table in ("clinics", "former_names", "invites"):
                if self._db.execute(f"SELECT 1 FROM {table} WHERE name = ?", (new,)).fetchone():  # noqa: S608
                    raise UserError(f"{new!r} is or was the name of a clinic or of an invite. Choose another one.")
            with self._transaction():
                self._db.execute("UPDATE clinics SET name = ? WHERE name = ?", (new, old))
                self._db.execute("UPDATE refusals SET clinic = ? WHERE clinic = ?", (new, old))
                self._db.execute("UPDATE dead_keys SET clinic = ? WHERE clinic = ?", (new, old))
                self._db.execute("UPDATE former_names SET clinic = ? WHERE clinic = ?", (new, old))
                self._db.execute("INSERT INTO former_names VALUES (?, ?)", (old, new))
        return self.clinics()[new]

    def current_name(self, name: str) -> str:
        """The name that a clinic called `name`, now or before, has now."""
        with self._lock:
            row = self._db.execute("SELECT clinic FROM former_names WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else name

    def note_answers(self, run: str, round_: int, accepted: Iterable[str], refused: dict[str, tuple[str, str]]) -> None:
        """Record what became of a round's answers. Noting a round again, after a resume, changes nothing.

        Parameters
        ----------
        run : str
        round_ : int
        accepted : iterable of str
            Clinics whose refusals in a row end here.
        refused : dict of str to (str, str)
            Short reason and words, by clinic.
        """
        now = time.time()
        with self._lock, self._transaction():
            self._db.executemany("DELETE FROM refusals WHERE clinic = ?", [(name,) for name in accepted])
            self._db.executemany(
                "INSERT OR REPLACE INTO refusals VALUES (?, ?, ?, ?, ?, ?)",
                [(name, run, round_, reason, words, now) for name, (reason, words) in refused.items()],
            )

    def refusals_in_a_row(self, clinic: str) -> int:
        """How many of a clinic's answers were refused since the last that was accepted."""
        return len(self.refusals(clinic))

    def refusals(self, clinic: str) -> list[dict[str, Any]]:
        """Refusals since the last answer that was accepted, oldest first: run, round, reason, words, time."""
        names = ("run", "round", "reason", "words", "time")
        with self._lock:
            rows = self._db.execute(
                f"SELECT {', '.join(names)} FROM refusals WHERE clinic = ? ORDER BY time, run, round",  # noqa: S608
                (clinic,),
            ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]

    # -- facts ------------------------------------------------------------------------------------------------------
    def fact(self, name: str) -> str:
        """A single value kept by name; "" when there is none."""
        with self._lock:
            row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def set_fact(self, name: str, value: str) -> None:
        """Keep a value by name."""
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))
