"""The hub's people, in `clinics.db`: names, roles, passwords (argon2id at rest), keys of one-time codes, accounts at the
institution's login, and the sessions they are logged in with.

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
from embryofl_server.state.one_time_codes import new_key, step_of

Role = Literal["viewer", "auditor", "coordinator"]
SESSION_S = 12 * 3600.0
MOST_SESSIONS = 100
"""The oldest one ends when there are more."""
SHORTEST, LONGEST = 12, 200  # characters of a password
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,38}[a-z0-9])?")
_RESERVED = ("operator", "console", "restore")  # the audit log has these where no person is asking
_PERSON = "SELECT name, role, added, disabled, code_key != '', account"
_HASHER = PasswordHasher()  # RFC 9106, low memory: 64 MiB


@dataclass(frozen=True)
class Person:
    """A person. `disabled` and `added`: Unix time in seconds; 0 is never. `coded`: a login needs a one-time code.
    `account`: at the institution's login, as issuer and `sub`, or an e-mail address until its first login; "" for none."""

    name: str
    role: Role
    added: float
    disabled: float
    coded: bool
    account: str


@dataclass(frozen=True)
class Session:
    """A session: its number, whose it is, from when until when (Unix time in seconds), and whether it is the asker's."""

    number: int
    person: str
    began: float
    ends: float
    own: bool


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
        rows = self._database.rows(f"{_PERSON} FROM people ORDER BY added")
        return {row[0]: _person(*row) for row in rows}

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
            row = (name, role, digest, time.time())
            self._database.change(
                "INSERT OR REPLACE INTO people (name, role, password, added) VALUES (?, ?, ?, ?)", *row
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
    def log_in(self, name: str, password: str, code: str = "") -> str:
        """Start a session; its secret, or "" for a wrong name, password or code. Without a name: the only person there
        is."""
        present = [p.name for p in self.all().values() if not p.disabled]
        name = name or (present[0] if len(present) == 1 else "")
        query = "SELECT password, code_key, code_step FROM people WHERE name = ? AND disabled = 0"
        stored = self._database.rows(query, name)
        if not _is_password(stored[0][0] if stored else _nobodys(), password) or not stored:  # equally slow for no name
            return ""
        _, key, used = stored[0]
        if key and (step := step_of(key, code)) <= used:  # each code works once
            return ""
        with self._database.transaction():
            if self._database.rows(query, name) != stored:
                return ""  # disabled, or another password or code, meanwhile
            if key:
                self._database.change("UPDATE people SET code_step = ? WHERE name = ?", step, name)
            session = self._begin(name)
        self._publish()
        return session

    def log_in_as(self, account: str, email: str) -> tuple[str, str]:
        """Start a session of the person with this account at the institution's login; its secret, and whom a first login
        by e-mail has bound to the account. "" where there is none.

        Parameters
        ----------
        account : str
            Issuer and `sub`.
        email : str
            That the provider has verified, or "".
        """
        query, bound = "SELECT name FROM people WHERE account = ? AND disabled = 0", ""
        with self._database.transaction():
            found = self._database.rows(query, account)
            if not found and email and (found := self._database.rows(query, email.casefold())):
                bound = found[0][0]
                self._database.change("UPDATE people SET account = ? WHERE name = ?", account, bound)
            session = self._begin(found[0][0]) if found else ""
        self._publish()
        return session, bound

    def _begin(self, name: str) -> str:
        """Within a transaction: a new session's secret."""
        session, now = secrets.token_urlsafe(32), time.time()
        row = (_key(session), name, now, now + SESSION_S)
        self._database.change("DELETE FROM logins WHERE ends < ?", now)
        self._database.change("INSERT INTO logins (session, person, began, ends) VALUES (?, ?, ?, ?)", *row)
        self._database.change(
            "DELETE FROM logins WHERE session NOT IN (SELECT session FROM logins ORDER BY began DESC LIMIT ?)",
            MOST_SESSIONS,
        )
        return session

    def bind(self, name: str, account: str) -> None:
        """Let a person log in with this account, issuer and `sub`, or an e-mail address, which the first login that the
        provider has verified it for replaces; "" for none. Ends the person's sessions. `UserError` as `person`, and when
        another person has it."""
        account = account if " " in account else account.casefold()
        with self._database.transaction():
            self.person(name)
            if others := [
                p.name for p in self.all().values() if p.account == account != "" and not p.disabled and p.name != name
            ]:
                raise UserError(
                    "H10", f"{others[0]} has this account. An account is one person's: unbind that one first."
                )
            self._database.change("UPDATE people SET account = ? WHERE name = ?", account, name)
            self._database.change("DELETE FROM logins WHERE person = ?", name)
        self._publish()

    def logged_in(self, session: str) -> Person | None:
        """Whose session this is; None when there is none such, or it has ended."""
        rows = self._database.rows(
            f"{_PERSON} FROM people JOIN logins ON person = name WHERE session = ? AND ends > ?",
            _key(session),
            time.time(),
        )
        return _person(*rows[0]) if rows else None

    def log_out(self, session: str) -> None:
        """End a session."""
        self._database.change("DELETE FROM logins WHERE session = ?", _key(session))
        self._publish()

    def sessions(self, session: str = "") -> list[Session]:
        """All sessions, the newest first. `session`: the asker's."""
        query = "SELECT number, person, began, ends, session = ? FROM logins WHERE ends > ? ORDER BY number DESC"
        rows = self._database.rows(query, _key(session), time.time())
        return [Session(number, person, began, ends, bool(own)) for number, person, began, ends, own in rows]

    def end(self, number: int, person: str = "") -> str:
        """End a session by its number, if it is this `person`'s ("": whoever's); whose it was. `UserError` when there is
        none such."""
        found = [s for s in self.sessions() if s.number == number and person in ("", s.person)]
        if not found:
            raise UserError("H10", f"There is no session {number}. It may have ended already.")
        self._database.change("DELETE FROM logins WHERE number = ?", number)
        self._publish()
        return found[0].person

    # -- one-time codes ---------------------------------------------------------------------------------------------
    def is_password(self, name: str, password: str) -> bool:
        """Whether this is the password of a person who may log in. `UserError` as `person`."""
        self.person(name)
        return _is_password(self._database.rows("SELECT password FROM people WHERE name = ?", name)[0][0], password)

    def begin_codes(self, name: str) -> str:
        """Make a key for one-time codes, for `confirm_codes`, until which no code is needed. `UserError` as `person`."""
        self.person(name)
        key = new_key()
        self._database.change("UPDATE people SET next_key = ? WHERE name = ?", key, name)
        return key

    def confirm_codes(self, name: str, code: str) -> None:
        """From now on a login of this person needs a code. `UserError` for a wrong one, and without `begin_codes`."""
        with self._database.transaction():
            ((key,),) = self._database.rows("SELECT next_key FROM people WHERE name = ?", name)
            step = step_of(key, code) if key else 0
            if not step:
                raise UserError(
                    "H10", "This is not the app's present code of six digits. Check the phone's clock, and begin again."
                )
            self._database.change(
                "UPDATE people SET code_key = next_key, next_key = '', code_step = ? WHERE name = ?", step, name
            )

    def drop_codes(self, name: str) -> None:
        """A login of this person needs no code any more. `UserError` as `person`."""
        self.person(name)
        self._database.change("UPDATE people SET code_key = '', next_key = '', code_step = 0 WHERE name = ?", name)

    def _publish(self) -> None:
        with self._database.lock:
            rows = self._database.rows("SELECT session, name, role, ends FROM logins JOIN people ON person = name")
            sessions = {session: {"name": name, "role": role, "ends": ends} for session, name, role, ends in rows}
            write_atomic(self._copy, json.dumps(sessions).encode(), mode=0o600)


def _person(name: str, role: Role, added: float, disabled: float, coded: int, account: str) -> Person:
    return Person(name, role, added, disabled, bool(coded), account)


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
