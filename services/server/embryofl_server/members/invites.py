"""Invites in `clinics.db`: each enrols one clinic, once. Only the SHA-256 of a secret is kept (it has 192 random bits)."""

import hashlib
import secrets
import sqlite3
import time
from dataclasses import asdict, dataclass
from typing import Any

_COLUMNS = "name, created, expires, used_by, withdrawn, why"


class EnrolmentRejected(Exception):
    """A request that the hub rejects; the text is the reason that the clinic is given."""


@dataclass(frozen=True)
class InviteRecord:
    """A stored invite. `id` is the beginning of its secret's hash. Times are Unix time in seconds, 0 = never."""

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
        """For JSON, without the key that used it."""
        return {**{k: v for k, v in asdict(self).items() if k != "used_by"}, "state": self.state}


def digest(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def make(db: sqlite3.Connection, name: str, days: float) -> str:
    """A new invite, which replaces the unused ones of `name`; returns its secret."""
    secret, now = secrets.token_urlsafe(24), time.time()
    withdraw(db, name, "A newer invite was made")
    db.execute("INSERT INTO invites VALUES (?, ?, ?, ?, NULL, 0, '')", (digest(secret), name, now, now + days * 86_400))
    return secret


def withdraw(db: sqlite3.Connection, name: str, why: str) -> int:
    """Cancel the unused invites of `name`; returns how many there were."""
    done = db.execute(
        "UPDATE invites SET withdrawn = ?, why = ? WHERE name = ? AND used_by IS NULL AND withdrawn = 0",
        (time.time(), why, name),
    )
    return done.rowcount


def check(db: sqlite3.Connection, name: str, secret: str, public_key: str) -> None:
    """Raise `EnrolmentRejected` unless this key may join with this secret; each fault has its own reason."""
    new = "Ask the coordinator for a new invite."
    matching = _read(db, "WHERE secret_sha256 = ?", digest(secret))
    if not matching:
        raise EnrolmentRejected(
            "This hub does not recognise the invite: it was issued by another hub, or before this hub's state was reset. "
            + new
        )
    invite = matching[0]
    if invite.name != name:
        raise EnrolmentRejected(f"This invite is for {invite.name}, not for {name}. {new}")
    if invite.used_by is not None and invite.used_by != public_key:
        raise EnrolmentRejected(f"This invite has already been used with another key. {new}")
    if invite.withdrawn:
        raise EnrolmentRejected(f"This invite was withdrawn: {invite.why}. {new}")
    if invite.used_by is None and invite.expires < time.time():
        day = time.strftime("%d %B %Y", time.gmtime(invite.expires))
        raise EnrolmentRejected(f"This invite expired on {day}. {new}")


def use(db: sqlite3.Connection, secret: str, public_key: str) -> None:
    """Mark the invite as used by a clinic's key."""
    db.execute("UPDATE invites SET used_by = ? WHERE secret_sha256 = ?", (public_key, digest(secret)))


def listing(db: sqlite3.Connection) -> list[InviteRecord]:
    """All invites, oldest first."""
    return _read(db, "ORDER BY created")


def _read(db: sqlite3.Connection, which: str, *values: str) -> list[InviteRecord]:
    rows = db.execute(f"SELECT secret_sha256, {_COLUMNS} FROM invites {which}", values)  # noqa: S608
    return [InviteRecord(r[0][:8], *r[1:]) for r in rows]
