"""The version of the hub's state folder: migrated step by step, or refused in words, never guessed.

The version is `clinics.db`'s `user_version` and stands for the whole folder. A database without one is of version 1, the
only version that did not write it.
"""

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path

from embryofl.errors import UserError

log = logging.getLogger("embryofl.schema")

CURRENT = 3

_TABLES = """
CREATE TABLE clinics (
    name TEXT PRIMARY KEY, public_key TEXT NOT NULL UNIQUE, state TEXT NOT NULL, enrolled REAL NOT NULL,
    meaning TEXT NOT NULL, summary TEXT NOT NULL,
    since REAL NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT ''
);
"""
_SINCE_2 = """
CREATE TABLE refusals (
    clinic TEXT NOT NULL, run TEXT NOT NULL, round INTEGER NOT NULL, reason TEXT NOT NULL, words TEXT NOT NULL,
    time REAL NOT NULL, PRIMARY KEY (clinic, run, round)
);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


_SINCE_3 = """
CREATE TABLE invites (
    secret_sha256 TEXT PRIMARY KEY, name TEXT NOT NULL, created REAL NOT NULL, expires REAL NOT NULL, used_by TEXT,
    withdrawn REAL NOT NULL DEFAULT 0, why TEXT NOT NULL DEFAULT ''
);
CREATE TABLE dead_keys (
    public_key TEXT PRIMARY KEY, clinic TEXT NOT NULL, state TEXT NOT NULL, time REAL NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE former_names (name TEXT PRIMARY KEY, clinic TEXT NOT NULL);
"""


def _to_2(db: sqlite3.Connection) -> None:
    """Why a clinic is in its state and since when, refusals in a row, the audit log's head."""
    _script(
        db,
        "ALTER TABLE clinics ADD COLUMN since REAL NOT NULL DEFAULT 0;"
        "ALTER TABLE clinics ADD COLUMN reason TEXT NOT NULL DEFAULT '';" + _SINCE_2,
    )


def _to_3(db: sqlite3.Connection) -> None:
    """Invites by secret and not by name, so that each is refused for its own reason; keys that never work again; names."""
    _script(db, "ALTER TABLE invites RENAME TO invites_2;" + _SINCE_3)
    _script(
        db,
        "INSERT INTO invites (secret_sha256, name, created, expires, used_by) "
        "SELECT secret_sha256, name, created, expires, used_by FROM invites_2; DROP TABLE invites_2",
    )


_STEPS: dict[int, Callable[[sqlite3.Connection], None]] = {1: _to_2, 2: _to_3}


def check_folder(state: Path) -> None:
    """Refuse a state folder that has lost its database: clinics and version would be guessed.

    Raises
    ------
    UserError
    """
    history = [
        p.name for p in (state / "audit.jsonl", state / "runs") if p.is_file() or p.is_dir() and any(p.iterdir())
    ]
    if history and not (state / "clinics.db").exists():
        raise UserError(
            f"{state} holds {' and '.join(history)} but no clinics.db. Expected the whole state of a hub: restore a "
            "backup, or name an empty folder to begin anew."
        )


def bring_up_to_date(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new database, or bring those of an older version up to date.

    A copy of the database as it was stays beside it, named after its version.

    Raises
    ------
    UserError
        When the database is of a newer version, or is none.
    """
    try:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        known = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as exc:
        raise UserError(f"{path} cannot be read ({exc}). Expected a hub's database: restore a backup.") from exc
    if version == 0 and "clinics" not in known:
        _in_one(db, lambda db: _script(db, _TABLES + _SINCE_2 + _SINCE_3), CURRENT)
        return
    version = version or 1
    if version > CURRENT:
        raise UserError(
            f"The hub's state ({path}) is of version {version}; this EmbryoFL knows versions up to {CURRENT}. Install a "
            "newer one, or restore a backup made with this one."
        )
    while version < CURRENT:
        copy = path.with_name(f"{path.stem}.v{version}{path.suffix}")
        copy.unlink(missing_ok=True)
        db.execute("VACUUM INTO ?", (str(copy),))
        copy.chmod(0o600)
        _in_one(db, _STEPS[version], version + 1)
        log.warning("the state was of version %d and is now of version %d; as it was: %s", version, version + 1, copy)
        version += 1


def _script(db: sqlite3.Connection, text: str) -> None:
    """Several statements inside the transaction under way (`executescript` would commit it)."""
    for statement in filter(None, map(str.strip, text.split(";"))):
        db.execute(statement)


def _in_one(db: sqlite3.Connection, step: Callable[[sqlite3.Connection], None], version: int) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        step(db)
        db.execute(f"PRAGMA user_version = {version}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
