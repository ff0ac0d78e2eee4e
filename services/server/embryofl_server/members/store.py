"""Who is in the federation: invites, clinics, rejected replies in a row, in `clinics.db` (SQLite).

The store holds public keys, what a clinic reported about its data, and hashes of invite secrets: no secret itself.
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
from embryofl.states import MEMBER, label
from embryofl_server.members import invites
from embryofl_server.members.invites import EnrolmentRejected, InviteRecord
from embryofl_server.state import database

__all__ = ["Clinic", "ClinicStore", "EnrolmentRejected", "RetiredKey"]

_RETIRED = "SELECT public_key, clinic, state, time, reason FROM dead_keys"
_COLUMNS = "name, public_key, state, enrolled, meaning, summary, since, reason"
_REJECTION = ("run", "round", "reason", "words", "time")
GONE = ("revoked", "left", "refused")  # the membership has ended: the key never works again, the name is free


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
        """Its image statistics; None if not reported."""
        statistics = self.summary.get("statistics")
        return DataStatistics.model_validate(statistics) if statistics else None

    @property
    def shows_metrics(self) -> bool:
        """Whether other clinics may see its own metrics; False if not reported."""
        return self.summary.get(SHOWS) is True

    @property
    def labelled(self) -> int | None:
        """Upper bound on the labelled images reported on joining ("<5" counts as 4); None if not reported."""
        try:
            counts = [by_label[label] for by_label in self.summary["counts"].values() for label in ("0", "1")]
            return sum(c if isinstance(c, int) else 4 for c in counts)
        except (KeyError, TypeError, AttributeError):
            return None


def state_label(state: str) -> str:
    """A clinic's state inside a sentence."""
    return label(MEMBER, state).lower()


@dataclass(frozen=True)
class RetiredKey:
    """A key that never works again, whose it was, and why."""

    public_key: str
    clinic: str
    state: str
    time: float
    reason: str

    @property
    def message(self) -> str:
        """For whoever uses it."""
        return (
            f"This key never works again ({state_label(self.state)} on "
            f"{time.strftime('%d %B %Y', time.gmtime(self.time))}: {self.reason.rstrip('.')}). To join again, ask the "
            "coordinator for a new invite and start with an empty state folder, so that a new key is made."
        )


class ClinicStore:
    """Invites and clinics; safe to use from several threads.

    Raises
    ------
    UserError
        When this version does not know the database's version.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()  # held from the read that decides on a change until the change is written
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        database.prepare(self._db, path)
        path.chmod(0o600)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing. The caller holds the lock."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    # -- invites and enrolment --------------------------------------------------------------------------------------
    def invite(self, name: str, days: float) -> str:
        """Make (or replace) the invite of `name`; returns its secret, which is not kept.

        Raises
        ------
        UserError
            When a clinic has or had that name. One whose membership has ended may be invited again, with a new key.
        """
        with self._lock:
            clinic = self.clinics().get(name)
            if clinic and clinic.state not in GONE:
                raise UserError(
                    f"There is already a clinic {name!r}: {state_label(clinic.state)}. Choose another name for another "
                    f"clinic. If this one no longer finds or trusts the hub: embryofl-server invite {name} --reconnect, "
                    "with which its key and membership stay. If it has lost its key, revoke it first."
                )
            if former := self._rows("SELECT clinic FROM former_names WHERE name = ?", name):
                raise UserError(f"{name!r} is a former name of {former[0][0]}. Choose another one.")
            with self._transaction():
                return invites.make(self._db, name, days)

    def invites(self) -> list[InviteRecord]:
        """All invites, oldest first."""
        with self._lock:
            return invites.listing(self._db)

    def withdraw_invite(self, name: str, why: str) -> None:
        """Cancel the open invite of `name`; `UserError` when there is none."""
        with self._lock:
            if not invites.withdraw(self._db, name, why):
                raise UserError(f"There is no unused invite for {name!r}. List all with: embryofl-server invites")

    def enrol(
        self, name: str, secret: str, public_key: str, meaning: str, summary: dict[str, Any], state: str = "enrolled"
    ) -> Clinic:
        """Turn a valid invite into a clinic. Repeating it with the same key is harmless.

        Raises
        ------
        EnrolmentRejected
            When the invite is not valid, or the key is retired or another clinic's.
        """
        with self._lock:
            self._reject_retired(public_key)
            invites.check(self._db, name, secret, public_key)
            owner = self._owner(public_key)
            if owner not in ("", name):
                raise EnrolmentRejected("This key belongs to another clinic: start with an empty state folder.")
            existing = self.clinics().get(name)
            if existing and not owner and existing.state not in GONE:
                raise EnrolmentRejected(f"A clinic called {name} has already joined, with another key.")
            if not owner:
                now = time.time()
                with self._transaction():
                    self._db.execute(
                        f"INSERT OR REPLACE INTO clinics ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, '')",  # noqa: S608
                        (name, public_key, state, now, meaning, json.dumps(summary), now),
                    )
                    invites.use(self._db, secret, public_key)
            return self.clinics()[name]

    # -- clinics and their states -----------------------------------------------------------------------------------
    def clinics(self) -> dict[str, Clinic]:
        """All clinics by name."""
        rows = self._rows(f"SELECT {_COLUMNS} FROM clinics ORDER BY name")  # noqa: S608
        return {r[0]: Clinic(r[0], r[1], r[2], r[3], r[4], json.loads(r[5]), r[6], r[7]) for r in rows}

    def clinic(self, name: str) -> Clinic:
        """One clinic; `UserError` when there is none of that name."""
        clinics = self.clinics()
        if name not in clinics:
            raise UserError(
                f"There is no clinic {name!r}. Clinics that have joined: {', '.join(clinics) or 'none yet'}."
            )
        return clinics[name]

    def member(self, name: str) -> Clinic:
        """One clinic whose membership has not ended.

        Raises
        ------
        UserError
            When there is none of that name, or its membership has ended.
        """
        clinic = self.clinic(name)
        if clinic.state in GONE:
            raise UserError(
                f"{name} is {state_label(clinic.state)}, and its key never works again. To let it join with a new key: "
                f"embryofl-server invite {name}"
            )
        return clinic

    def keys(self) -> dict[str, str]:
        """Public keys by name, as the SuperLink should have them. A suspended clinic stays connected."""
        with self._lock:
            retired = {r[0] for r in self._rows(_RETIRED)}
            clinics = self.clinics().values()
        present = [c for c in clinics if c.state in ("enrolled", "suspended") and c.public_key not in retired]
        return {c.name: c.public_key for c in present}

    def admitted(self) -> set[str]:
        """The clinics that may take part in rounds."""
        return {c.name for c in self.clinics().values() if c.state == "enrolled"}

    def set_state(self, name: str, state: str, reason: str) -> Clinic:
        """Suspend a clinic, enrol or reinstate it (which forgets its rejected replies), or end its membership (a state
        of `GONE`): then its key is retired for ever, also for an enrolment under another name.

        Raises
        ------
        UserError
            When there is no such clinic, it is already in that state, or cannot change to it.
        """
        with self._lock:
            if self.clinic(name).state == state:
                raise UserError(f"{name} is already {state_label(state)}.")
            clinic = self.member(name)
            if clinic.state == "waiting" and state == "suspended":
                raise UserError(f"{name} is awaiting approval: embryofl-server approve {name} (or decline {name}).")
            now = time.time()
            with self._transaction():
                self._db.execute(
                    "UPDATE clinics SET state = ?, since = ?, reason = ? WHERE name = ?", (state, now, reason, name)
                )
                if state == "enrolled":
                    self._db.execute("DELETE FROM refusals WHERE clinic = ?", (name,))
                if state in GONE:
                    self._retire_key(clinic, state, reason, now)
            return self.clinics()[name]

    def set_shows(self, name: str, shows: bool) -> None:
        """Whether other clinics may see a clinic's own metrics."""
        with self._lock:
            summary = {**self.clinic(name).summary, SHOWS: shows}
            self._db.execute("UPDATE clinics SET summary = ? WHERE name = ?", (json.dumps(summary), name))

    # -- keys and names ---------------------------------------------------------------------------------------------
    def change_key(self, name: str, before: str, public_key: str) -> Clinic:
        """Replace a clinic's key, `before`, which never works again.

        Raises
        ------
        EnrolmentRejected
            When the clinic is gone or already has another key; when the new key is retired or another clinic's.
        """
        with self._lock:
            clinic = self.clinic(name)
            if clinic.state in GONE or clinic.public_key != before:
                raise EnrolmentRejected("The hub does not recognise this clinic's name and key.")
            self._reject_retired(public_key)
            if self._owner(public_key):
                raise EnrolmentRejected("This key belongs to another clinic.")
            with self._transaction():
                self._retire_key(clinic, "replaced", "The clinic has changed its key", time.time())
                self._db.execute("UPDATE clinics SET public_key = ? WHERE name = ?", (public_key, name))
            return self.clinics()[name]

    def retired_keys(self, clinic: str) -> list[RetiredKey]:
        """The keys of a clinic that never work again."""
        return [RetiredKey(*row) for row in self._rows(f"{_RETIRED} WHERE clinic = ?", clinic)]

    def _owner(self, public_key: str) -> str:
        return next((name for (name,) in self._rows("SELECT name FROM clinics WHERE public_key = ?", public_key)), "")

    def _reject_retired(self, public_key: str) -> None:
        for row in self._rows(f"{_RETIRED} WHERE public_key = ?", public_key):
            raise EnrolmentRejected(RetiredKey(*row).message)

    def _retire_key(self, clinic: Clinic, state: str, reason: str, now: float) -> None:
        self._db.execute(
            "INSERT OR IGNORE INTO dead_keys VALUES (?, ?, ?, ?, ?)",
            (clinic.public_key, clinic.name, state, now, reason),
        )

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
                raise UserError(f"{old} is {state_label(state)}, so it would never learn its new name.")
            for table in ("clinics", "former_names", "invites"):
                if self._rows(f"SELECT 1 FROM {table} WHERE name = ?", new):  # noqa: S608
                    raise UserError(f"{new!r} is or was the name of a clinic or of an invite. Choose another one.")
            with self._transaction():
                self._db.execute("UPDATE clinics SET name = ? WHERE name = ?", (new, old))
                for table in ("refusals", "dead_keys", "former_names"):
                    self._db.execute(f"UPDATE {table} SET clinic = ? WHERE clinic = ?", (new, old))  # noqa: S608
                self._db.execute("INSERT INTO former_names VALUES (?, ?)", (old, new))
            return self.clinics()[new]

    def current_name(self, name: str) -> str:
        """The present name of a clinic that is or was called `name`."""
        return next((new for (new,) in self._rows("SELECT clinic FROM former_names WHERE name = ?", name)), name)

    # -- rejected replies -------------------------------------------------------------------------------------------
    def record_replies(
        self, run: str, round_: int, accepted: Iterable[str], rejected: dict[str, tuple[str, str]]
    ) -> None:
        """Record whose replies a round accepted and rejected. Recording a round again, after a resume, changes nothing.

        Parameters
        ----------
        run : str
        round_ : int
        accepted : iterable of str
            Clinics whose rejections in a row end here.
        rejected : dict of str to (str, str)
            Short reason and message, by clinic.
        """
        now = time.time()
        with self._lock, self._transaction():
            self._db.executemany("DELETE FROM refusals WHERE clinic = ?", [(name,) for name in accepted])
            self._db.executemany(
                "INSERT OR REPLACE INTO refusals VALUES (?, ?, ?, ?, ?, ?)",
                [(name, run, round_, reason, message, now) for name, (reason, message) in rejected.items()],
            )

    def rejections(self, clinic: str) -> list[dict[str, Any]]:
        """Rejected replies since the last accepted one, oldest first: run, round, reason, words, time."""
        columns = ", ".join(_REJECTION)
        rows = self._rows(f"SELECT {columns} FROM refusals WHERE clinic = ? ORDER BY time, run, round", clinic)  # noqa: S608
        return [dict(zip(_REJECTION, row, strict=True)) for row in rows]

    # -- facts ------------------------------------------------------------------------------------------------------
    def fact(self, name: str) -> str:
        """A single value kept by name; "" when there is none."""
        return next((value for (value,) in self._rows("SELECT value FROM facts WHERE name = ?", name)), "")

    def set_fact(self, name: str, value: str) -> None:
        """Keep a value by name."""
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))
