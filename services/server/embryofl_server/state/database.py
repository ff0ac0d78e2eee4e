"""`clinics.db` (SQLite) in the hub's state folder: tables, version, transactions.

The version is written when the folder is made and stands for the whole folder; a folder of any other version is rejected.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embryofl.errors import UserError

VERSION = 9

_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE clinics (
    name TEXT PRIMARY KEY, public_key TEXT NOT NULL UNIQUE, state TEXT NOT NULL, enrolled REAL NOT NULL,
    meaning TEXT NOT NULL, summary TEXT NOT NULL,
    since REAL NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '', approved INTEGER
);
CREATE TABLE refusals (
    clinic TEXT NOT NULL, run TEXT NOT NULL, round INTEGER NOT NULL, reason TEXT NOT NULL, words TEXT NOT NULL,
    time REAL NOT NULL, PRIMARY KEY (clinic, run, round)
);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE invites (
    secret_sha256 TEXT PRIMARY KEY, name TEXT NOT NULL, created REAL NOT NULL, expires REAL NOT NULL, used_by TEXT,
    withdrawn REAL NOT NULL DEFAULT 0, why TEXT NOT NULL DEFAULT ''
);
CREATE TABLE dead_keys (
    public_key TEXT PRIMARY KEY, clinic TEXT NOT NULL, state TEXT NOT NULL, time REAL NOT NULL, reason TEXT NOT NULL,
    change TEXT NOT NULL DEFAULT ''
);
CREATE TABLE former_names (name TEXT PRIMARY KEY, clinic TEXT NOT NULL);
CREATE TABLE people (
    name TEXT PRIMARY KEY, role TEXT NOT NULL, password TEXT NOT NULL, added REAL NOT NULL,
    disabled REAL NOT NULL DEFAULT 0, code_key TEXT NOT NULL DEFAULT '', code_step INTEGER NOT NULL DEFAULT 0,
    next_key TEXT NOT NULL DEFAULT '', account TEXT NOT NULL DEFAULT ''
);
CREATE TABLE requests (
    number INTEGER PRIMARY KEY AUTOINCREMENT, person TEXT NOT NULL, asked REAL NOT NULL, action TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE TABLE logins (
    number INTEGER PRIMARY KEY AUTOINCREMENT, session TEXT NOT NULL UNIQUE,
    person TEXT NOT NULL, began REAL NOT NULL, ends REAL NOT NULL
);
PRAGMA user_version = {VERSION};
COMMIT;
"""


def check_folder(state: Path) -> None:
    """Raise `UserError` for a state folder that has lost its database: its clinics and version would be guessed."""
    history = [
        p.name for p in (state / "audit.jsonl", state / "runs") if p.is_file() or p.is_dir() and any(p.iterdir())
    ]
    if history and not (state / "clinics.db").exists():
        raise UserError(
            "H3",
            f"{state} holds {' and '.join(history)} but no clinics.db. Expected the complete state of a hub. Restore a "
            "backup, or name an empty folder to start over.",
        )


class Database:
    """The open database, made if missing; safe to use from several threads.

    Raises
    ------
    UserError
        When it is of another version, or the file is not a database.
    """

    def __init__(self, path: Path) -> None:
        self.lock = threading.RLock()
        """Held from the read that decides on a change until the change is written."""
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            empty = not self._db.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.DatabaseError as exc:
            raise UserError(
                "H3", f"{path} cannot be read ({exc}). Expected a hub's database. Restore a backup."
            ) from exc
        if version == 0 and empty:
            self._db.executescript(_TABLES)
        elif version != VERSION:
            raise UserError(
                "H3",
                f"The hub's state ({path}) is of version {version}. This EmbryoFL reads version {VERSION} only. Install "
                "the EmbryoFL that wrote the state, or restore a backup made with this one.",
            )
        path.chmod(0o600)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")

    def close(self) -> None:
        """Close the database."""
        with self.lock:
            self._db.close()

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows that a statement returns."""
        with self.lock:
            return self._db.execute(query, values).fetchall()

    def change(self, statement: str, *values: object) -> int:
        """Run a statement that changes rows; returns how many."""
        with self.lock:
            return self._db.execute(statement, values).rowcount

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes within, or none."""
        with self.lock:
            self.change("BEGIN IMMEDIATE")
            try:
                yield
                self.change("COMMIT")
            except BaseException:
                self.change("ROLLBACK")
                raise

    def fact(self, name: str) -> str:
        """A single value kept by name; "" when there is none."""
        return next((value for (value,) in self.rows("SELECT value FROM facts WHERE name = ?", name)), "")

    def set_fact(self, name: str, value: str) -> None:
        """Keep a value by name."""
        self.change("INSERT OR REPLACE INTO facts VALUES (?, ?)", name, value)
