"""Who belongs to the federation: invites and clinics, in `clinics.db` (SQLite).

The store holds public keys, what a clinic said about its data, and hashes of invite secrets: no secret itself.
"""

import hashlib
import hmac
import json
import secrets
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embryofl.errors import UserError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS invites (
    name TEXT PRIMARY KEY, secret_sha256 TEXT NOT NULL, created REAL NOT NULL, expires REAL NOT NULL, used_by TEXT
);
CREATE TABLE IF NOT EXISTS clinics (
    name TEXT PRIMARY KEY, public_key TEXT NOT NULL UNIQUE, state TEXT NOT NULL, enrolled REAL NOT NULL,
    meaning TEXT NOT NULL, summary TEXT NOT NULL
);
"""


class Refused(Exception):
    """An enrolment that is not taken; the text is the reason the clinic is told."""


@dataclass(frozen=True)
class Clinic:
    """An enrolled clinic. `enrolled` is Unix time in seconds."""

    name: str
    public_key: str
    state: str
    enrolled: float
    meaning: str
    summary: dict[str, Any]

    @property
    def labelled(self) -> int | None:
        """At most so many labelled embryos were enrolled (a count told as "<5" taken as 4); None where not told."""
        try:
            counts = [by_label[label] for by_label in self.summary["counts"].values() for label in ("0", "1")]
            return sum(c if isinstance(c, int) else 4 for c in counts)
        except (KeyError, TypeError, AttributeError):
            return None


class Store:
    """Invites and clinics; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        path.chmod(0o600)

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
                        "INSERT INTO clinics VALUES (?, ?, 'enrolled', ?, ?, ?)",
                        (name, public_key, time.time(), meaning, json.dumps(summary)),
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
            rows = self._db.execute("SELECT * FROM clinics ORDER BY name").fetchall()
        return {r[0]: Clinic(r[0], r[1], r[2], r[3], r[4], json.loads(r[5])) for r in rows}


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
