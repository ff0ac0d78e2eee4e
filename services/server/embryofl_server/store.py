"""Who belongs to the federation: invites, clinics, refusals in a row, in `clinics.db` (SQLite).

The store holds public keys, what a clinic said about its data, and hashes of invite secrets: no secret itself.
"""

import hashlib
import hmac
import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embryofl.errors import UserError
from embryofl_server import schema

_COLUMNS = "name, public_key, state, enrolled, meaning, summary, since, reason"
_IN = ("enrolled", "suspended")  # their keys are known to the SuperLink


class Refused(Exception):
    """An enrolment that is not taken; the text is the reason the clinic is told."""


@dataclass(frozen=True)
class Clinic:
    """A clinic. `state`: enrolled or suspended, `since` when and for what `reason`. Times are Unix time in seconds."""

    name: str
    public_key: str
    state: str
    enrolled: float
    meaning: str
    summary: dict[str, Any]
    since: float = 0.0
    reason: str = ""

    @property
    def labelled(self) -> int | None:
        """At most so many labelled embryos were enrolled (a count told as "<5" taken as 4); None where not told."""
        try:
            counts = [by_label[label] for by_label in self.summary["counts"].values() for label in ("0", "1")]
            return sum(c if isinstance(c, int) else 4 for c in counts)
        except (KeyError, TypeError, AttributeError):
            return None


class Store:
    """Invites and clinics; safe to use from several threads.

    Raises
    ------
    UserError
        When the database is of a version that this one does not know.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        schema.bring_up_to_date(self._db, path)
        path.chmod(0o600)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    def invite(self, name: str, days: float) -> str:
        """Make (or replace) the invite of `name`; returns its secret, which is not kept.

        Raises
        ------
        UserError
            When a clinic of that name is enrolled already.
        """
        secret = secrets.token_urlsafe(24)
        now = time.time()
        with self._lock:
            if self._db.execute("SELECT 1 FROM clinics WHERE name = ?", (name,)).fetchone():
                raise UserError(
                    f"A clinic called {name!r} is enrolled already. Choose another name; its own key stays valid."
                )
            self._db.execute(
                "INSERT OR REPLACE INTO invites VALUES (?, ?, ?, ?, NULL)",
                (name, _digest(secret), now, now + days * 86_400),
            )
        return secret

    def enrol(self, name: str, secret: str, public_key: str, meaning: str, summary: dict[str, Any]) -> Clinic:
        """Turn a valid invite into a clinic. Repeating it with the same key is harmless.

        Raises
        ------
        Refused
            With a reason in words: no such invite, expired, used by another key, key known under another name.
        """
        with self._lock:
            row = self._db.execute(
                "SELECT secret_sha256, expires, used_by FROM invites WHERE name = ?", (name,)
            ).fetchone()
            if row is None or not hmac.compare_digest(row[0], _digest(secret)):
                raise Refused("This invite is not known here: ask the coordinator for a new one.")
            if row[2] not in (None, public_key):
                raise Refused("This invite was used already with another key: ask the coordinator for a new one.")
            if row[2] is None and row[1] < time.time():
                raise Refused("This invite has expired: ask the coordinator for a new one.")
            owner = self._db.execute("SELECT name FROM clinics WHERE public_key = ?", (public_key,)).fetchone()
            if owner and owner[0] != name:
                raise Refused("This key belongs to another clinic: start with an empty state folder.")
            if not owner:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    self._db.execute(
                        f"INSERT INTO clinics ({_COLUMNS}) VALUES (?, ?, 'enrolled', ?, ?, ?, ?, '')",  # noqa: S608
                        (name, public_key, time.time(), meaning, json.dumps(summary), time.time()),
                    )
                    self._db.execute("UPDATE invites SET used_by = ? WHERE name = ?", (public_key, name))
                    self._db.execute("COMMIT")
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
        return self.clinics()[name]

    def clinics(self) -> dict[str, Clinic]:
        """All clinics by name."""
        with self._lock:
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM clinics ORDER BY name").fetchall()  # noqa: S608
        return {r[0]: Clinic(r[0], r[1], r[2], r[3], r[4], json.loads(r[5]), r[6], r[7]) for r in rows}

    def keys(self) -> dict[str, str]:
        """Public keys by name, as the SuperLink should know them. A suspended clinic stays connected and is not asked."""
        return {c.name: c.public_key for c in self.clinics().values() if c.state in _IN}

    def admitted(self) -> set[str]:
        """The clinics that may take part."""
        return {c.name for c in self.clinics().values() if c.state == "enrolled"}

    # -- suspension -------------------------------------------------------------------------------------------------
    def set_state(self, name: str, state: str, reason: str) -> Clinic:
        """Suspend a clinic (`suspended`), or let it take part again (`enrolled`), which also forgets its refusals.

        Raises
        ------
        UserError
            When there is no such clinic, or it is in that state already.
        """
        clinics = self.clinics()
        if name not in clinics:
            known = ", ".join(clinics) or "none yet"
            raise UserError(f"There is no clinic {name!r}. Clinics that have joined: {known}.")
        if clinics[name].state == state:
            raise UserError(f"{name} is {state} already.")
        with self._lock:
            self._db.execute(
                "UPDATE clinics SET state = ?, since = ?, reason = ? WHERE name = ?", (state, time.time(), reason, name)
            )
            if state == "enrolled":
                self._db.execute("DELETE FROM refusals WHERE clinic = ?", (name,))
        return self.clinics()[name]

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
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("DELETE FROM refusals WHERE clinic = ?", [(name,) for name in accepted])
            self._db.executemany(
                "INSERT OR REPLACE INTO refusals VALUES (?, ?, ?, ?, ?, ?)",
                [(name, run, round_, reason, words, now) for name, (reason, words) in refused.items()],
            )
            self._db.execute("COMMIT")

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


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
