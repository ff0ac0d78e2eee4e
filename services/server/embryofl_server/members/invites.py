"""Invites in `clinics.db`: each makes one clinic, once. Only the SHA-256 of a secret is kept (it has 192 random bits)."""

import hashlib
import secrets
import sqlite3
import time
from dataclasses import asdict, dataclass
from typing import Any

_COLUMNS = "name, created, expires, used_by, withdrawn, why"


class EnrolmentRejected(Exception):
    """An enrolment that is not taken; the text is the reason the clinic is told."""


@dataclass(frozen=True)
class InviteRecord:
    """What is known of an invite. `id` is the beginning of its secret's hash. Times are Unix time in seconds, 0 = never."""

    id: str
    name: str
    created: float
    expires: float
    used_by: str | None
    withdrawn: float
    why: str

    @property
    def state(self) -> str:
        """open, used, expired or withdrawn."""
        if self.used_by is not None:
            return "used"
        if self.withdrawn:
            return "withdrawn"
        return "expired" if self.expires < time.time() else "open"

    def to_dict(self) -> dict[str, Any]:
        """For JSON; the key that used it is left out."""
        return {**{k: v for k, v in asdict(self).items() if k != "used_by"}, "state": self.state}


def digest(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def make(db: sqlite3.Connection, name: str, days: float) -> str:
    """A new invite in the place of those of `name` that are unused; returns its secret."""
    secret, now = secrets.token_urlsafe(24), time.time()
    withdraw(db, name, "A newer invite was made")
    db.execute("INSERT INTO invites VALUES (?, ?, ?, ?, NULL, 0, '')", (digest(secret), name, now, now + days * 86_400))
    return secret


def withdraw(db: sqlite3.Connection, name: str, why: str) -> int:
    """Take the unused invites of `name` back; returns how many there were."""
    done = db.execute(
        "UPDATE invites SET withdrawn = ?, why = ? WHERE name = ? AND used_by IS NULL AND withdrawn = 0",
        (time.time(), why, name),
    )
    return done.rowcount


def check(db: sqlite3.Connection, name: str, secret: str, public_key: str) -> None:
    """Whether this key may join with this secret.

    Raises
    ------
    EnrolmentRejected
        With a reason of its own for each: foreign, of another name, withdrawn, used by another key, expired.
    """
    ask = "Ask the coordinator for a new one."
    found = _read(db, "WHERE secret_sha256 = ?", digest(secret))
    if not found:
        raise EnrolmentRejected(
            f"This invite is not known here: it was made by another hub, or by this one in another life. {ask}"
        )
    invite = found[0]
    if invite.name != name:
        raise EnrolmentRejected(f"This invite is for {invite.name}, not for {name}. {ask}")
    if invite.used_by is not None and invite.used_by != public_key:
        raise EnrolmentRejected(f"This invite was used already, with another key. {ask}")
    if invite.withdrawn:
        raise EnrolmentRejected(f"This invite was withdrawn: {invite.why}. {ask}")
    if invite.used_by is None and invite.expires < time.time():
        raise EnrolmentRejected(
            f"This invite has expired on {time.strftime('%d %B %Y', time.gmtime(invite.expires))}. {ask}"
        )


def use(db: sqlite3.Connection, secret: str, public_key: str) -> None:
    """The invite has made a clinic."""
    db.execute("UPDATE invites SET used_by = ? WHERE secret_sha256 = ?", (public_key, digest(secret)))


def listing(db: sqlite3.Connection) -> list[InviteRecord]:
    """All invites, the oldest first."""
    return _read(db, "ORDER BY created")


def _read(db: sqlite3.Connection, which: str, *values: str) -> list[InviteRecord]:
    rows = db.execute(f"SELECT secret_sha256, {_COLUMNS} FROM invites {which}", values)  # noqa: S608
    return [InviteRecord(r[0][:8], *r[1:]) for r in rows]
