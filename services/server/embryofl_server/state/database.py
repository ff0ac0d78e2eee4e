"""The version of the hub's state folder: written when the folder is made, and any other version is refused.

The version is `clinics.db`'s `user_version` and stands for the whole folder.
"""

import sqlite3
from pathlib import Path

from embryofl.errors import UserError

VERSION = 3

_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE clinics (
    name TEXT PRIMARY KEY, public_key TEXT NOT NULL UNIQUE, state TEXT NOT NULL, enrolled REAL NOT NULL,
    meaning TEXT NOT NULL, summary TEXT NOT NULL,
    since REAL NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT ''
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
    public_key TEXT PRIMARY KEY, clinic TEXT NOT NULL, state TEXT NOT NULL, time REAL NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE former_names (name TEXT PRIMARY KEY, clinic TEXT NOT NULL);
PRAGMA user_version = {VERSION};
COMMIT;
"""


def check_folder(state: Path) -> None:
    """Refuse a state folder that has lost its database: its clinics and version would be guessed.

    Raises
    ------
    UserError
    """
    history = [
        p.name for p in (state / "audit.jsonl", state / "runs") if p.is_file() or p.is_dir() and any(p.iterdir())
    ]
    if history and not (state / "clinics.db").exists():
        raise UserError(
            f"{state} holds {' and '.join(history)} but no clinics.db. Expected the complete state of a hub. Restore a "
            "backup, or name an empty folder to start over."
        )


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Create the tables of a new database, or check that an existing one is of this version.

    Raises
    ------
    UserError
        When the database is of another version, or the file is not a database.
    """
    try:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        empty = not db.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as exc:
        raise UserError(f"{path} cannot be read ({exc}). Expected a hub's database. Restore a backup.") from exc
    if version == 0 and empty:
        db.executescript(_TABLES)
    elif version != VERSION:
        raise UserError(
            f"The hub's state ({path}) is of version {version}. This EmbryoFL reads version {VERSION} only. Install the "
            "EmbryoFL that wrote the state, or restore a backup made with this one."
        )
