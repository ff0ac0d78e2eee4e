"""Invites in `clinics.db`: each enrols one clinic, once. Only the SHA-256 of a secret is kept (it has 192 random bits)."""

import hashlib
import secrets
import time
from dataclasses import asdict, dataclass
from typing import Any

from embryofl.errors import UserError
from embryofl_server.state.database import Database


class EnrolmentRejected(UserError):
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


def make(db: Database, name: str, days: float) -> str:
    """A new invite, which replaces the unused ones of `name`; returns its secret."""
    secret, now = secrets.token_urlsafe(24), time.time()
    withdraw(db, name, "A newer invite was made")
    db.change("INSERT INTO invites VALUES (?, ?, ?, ?, NULL, 0, '')", _digest(secret), name, now, now + days * 86_400)
    return secret


def withdraw(db: Database, name: str, why: str) -> int:
    """Cancel the unused invites of `name`; returns how many there were."""
    cancel = "UPDATE invites SET withdrawn = ?, why = ? WHERE name = ? AND used_by IS NULL AND withdrawn = 0"
    return db.change(cancel, time.time(), why, name)


def listing(db: Database) -> list[InviteRecord]:
    """All invites, oldest first."""
    return [InviteRecord(secret[:8], *rest) for secret, *rest in db.rows("SELECT * FROM invites ORDER BY created")]


def check(db: Database, name: str, secret: str, public_key: str) -> None:
    """Raise `EnrolmentRejected` unless this key may join with this secret; each fault has its own reason."""
    new = "Ask the coordinator for a new invite."
    matching = db.rows("SELECT * FROM invites WHERE secret_sha256 = ?", _digest(secret))
    if not matching:
        raise EnrolmentRejected(
            "J2",
            "This hub does not recognise the invite: it was issued by another hub, or before this hub's state was reset. "
            + new,
        )
    invite = InviteRecord(*matching[0])
    if invite.name != name:
        raise EnrolmentRejected("J2", f"This invite is for {invite.name}, not for {name}. {new}")
    if invite.used_by is not None and invite.used_by != public_key:
        raise EnrolmentRejected("J2", f"This invite has already been used with another key. {new}")
    if invite.withdrawn:
        raise EnrolmentRejected("J2", f"This invite was withdrawn: {invite.why}. {new}")
    if invite.state == "expired":
        day = time.strftime("%d %B %Y", time.gmtime(invite.expires))
        raise EnrolmentRejected("J2", f"This invite expired on {day}. {new}")


def use(db: Database, secret: str, public_key: str) -> None:
    """Mark the invite as used by a clinic's key."""
    db.change("UPDATE invites SET used_by = ? WHERE secret_sha256 = ?", public_key, _digest(secret))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
