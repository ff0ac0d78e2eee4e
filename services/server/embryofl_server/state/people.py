"""The hub's people, in `clinics.db`: names, roles, passwords (argon2id at rest), and the sessions they are logged in with.

The console reads a copy of the sessions, hashes alone: where a session ends here, it has ended there, too.
"""

import functools
import hashlib
import json
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from embryofl.errors import UserError
from embryofl.files import write_atomic
from embryofl_server.state.database import Database

Role = Literal["viewer", "auditor", "coordinator"]
SESSION_S = 12 * 3600.0
MOST_SESSIONS = 100
"""The oldest one ends when there are more."""
SHORTEST, LONGEST = 12, 200  # characters of a password
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,38}[a-z0-9])?")
_RESERVED = ("operator", "console", "restore")  # the audit log has these where no person is asking
_HASHER = PasswordHasher()  # RFC 9106, low memory: 64 MiB


@dataclass(frozen=True)
class Person:
    """A person. `disabled` and `added`: Unix time in seconds; 0 is never."""

    name: str
    role: Role
    added: float
    disabled: float


class People:
    """People and their sessions; safe to use from several threads.

    Parameters
    ----------
    database : Database
    copy : Path
        Of the sessions, for the console: a JSON object, the SHA-256 of a session to `name`, `role` and `ends`.
    """

    def __init__(self, database: Database, copy: Path) -> None:
        self._database, self._copy = database, copy
        self._publish()

    def all(self) -> dict[str, Person]:
        """All people by name, in the order in which they were added."""
        rows = self._database.rows("SELECT name, role, added, disabled FROM people ORDER BY added")
        return {row[0]: Person(*row) for row in rows}

    def person(self, name: str) -> Person:
        """A person who may log in; `UserError` when there is none of that name."""
        people = self.all()
        if name not in people or people[name].disabled:
            present = ", ".join(p.name for p in people.values() if not p.disabled)
            raise UserError(
                "H10",
                f"There is no person {name!r} who may log in. There are: {present or 'none yet'}. To add one: "
                f"embryofl-server people add NAME --role coordinator",
            )
        return people[name]

    def add(self, name: str, role: Role, password: str) -> None:
        """Add a person, or let a disabled one in again; `UserError` for a name or password that cannot be used."""
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise UserError(
                "H10",
                f"{name!r} cannot be a person's name. Use up to 40 lower-case letters, digits, dots and hyphens, such as "
                f"'anna', and none of: {', '.join(_RESERVED)}.",
            )
        digest = _digest(password)
        with self._database.transaction():
            if name in self.all() and not self.all()[name].disabled:
                raise UserError("H10", f"There already is a person {name!r}. Choose another name, or disable that one.")
            self._database.change(
                "INSERT OR REPLACE INTO people VALUES (?, ?, ?, ?, 0)", name, role, digest, time.time()
            )

    def set_password(self, name: str, password: str) -> None:
        """Replace a person's password, which ends all sessions of that person. `UserError` as `person` and `add`."""
        digest = _digest(password)
        with self._database.transaction():
            self.person(name)
            self._database.change("UPDATE people SET password = ? WHERE name = ?", digest, name)
            self._database.change("DELETE FROM logins WHERE person = ?", name)
        self._publish()

    def disable(self, name: str) -> None:
        """End a person's sessions, and let that person in no more; what that person has asked for waits no more, and the
        name stays taken. `UserError` as `person`."""
        with self._database.transaction():
            self.person(name)
            self._database.change("UPDATE people SET disabled = ? WHERE name = ?", time.time(), name)
            self._database.change("DELETE FROM requests WHERE person = ?", name)
            self._database.change("DELETE FROM logins WHERE person = ?", name)
        self._publish()

    # -- sessions ---------------------------------------------------------------------------------------------------
    def log_in(self, name: str, password: str) -> str:
        """Start a session; its secret, or "" for a wrong name or password. Without a name: the only person there is."""
        present = [p.name for p in self.all().values() if not p.disabled]
        name = name or (present[0] if len(present) == 1 else "")
        stored = self._database.rows("SELECT password FROM people WHERE name = ? AND disabled = 0", name)
        if not _is_password(stored[0][0] if stored else _nobodys(), password) or not stored:  # equally slow for no name
            return ""
        session, now = secrets.token_urlsafe(32), time.time()
        with self._database.transaction():
            if self._database.rows("SELECT password FROM people WHERE name = ? AND disabled = 0", name) != stored:
                return ""  # disabled, or another password, meanwhile
            self._database.change("DELETE FROM logins WHERE ends < ?", now)
            self._database.change("INSERT INTO logins VALUES (?, ?, ?, ?)", _key(session), name, now, now + SESSION_S)
            self._database.change(
                "DELETE FROM logins WHERE session NOT IN (SELECT session FROM logins ORDER BY began DESC LIMIT ?)",
                MOST_SESSIONS,
            )
        self._publish()
        return session

    def logged_in(self, session: str) -> Person | None:
        """Whose session this is; None when there is none such, or it has ended."""
        rows = self._database.rows(
            "SELECT name, role, added, disabled FROM people JOIN logins ON person = name WHERE session = ? AND ends > ?",
            _key(session),
            time.time(),
        )
        return Person(*rows[0]) if rows else None

    def log_out(self, session: str) -> None:
        """End a session."""
        self._database.change("DELETE FROM logins WHERE session = ?", _key(session))
        self._publish()

    def _publish(self) -> None:
        with self._database.lock:
            rows = self._database.rows("SELECT session, name, role, ends FROM logins JOIN people ON person = name")
            sessions = {session: {"name": name, "role": role, "ends": ends} for session, name, role, ends in rows}
            write_atomic(self._copy, json.dumps(sessions).encode(), mode=0o600)


def _digest(password: str) -> str:
    if not SHORTEST <= len(password) <= LONGEST:
        raise UserError(
            "H10", f"The password has {len(password)} characters. Expected {SHORTEST} to {LONGEST}. Choose another one."
        )
    return _HASHER.hash(password)


def _is_password(digest: str, password: str) -> bool:
    try:
        return _HASHER.verify(digest, password[:LONGEST])
    except VerifyMismatchError:
        return False


@functools.cache
def _nobodys() -> str:
    return _HASHER.hash(secrets.token_urlsafe(32))


def _key(session: str) -> str:
    return hashlib.sha256(session.encode("utf-8", "replace")).hexdigest()
