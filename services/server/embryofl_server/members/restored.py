"""What a backup does not know: who was revoked after it was made, and which invites were withdrawn."""

import time
from pathlib import Path

from embryofl.clinic_keys import fingerprint
from embryofl.errors import UserError
from embryofl_server.audit.log import AuditLog
from embryofl_server.members.store import GONE, ClinicStore

NONE = "none"
_REASON = "Revoked after the backup that was restored"


def settle(folder: Path, made: float, revoked: str) -> None:
    """Revoke clinics in a restored state before a hub uses it, and withdraw its unused invites.

    Parameters
    ----------
    folder : Path
        With `clinics.db`, `audit.jsonl` and `identity/`.
    made : float
        When the backup was made (Unix time).
    revoked : str
        The clinics, with commas between them, or `NONE`.

    Raises
    ------
    UserError
        When nothing is said about clinics that the state has, or a clinic is named that it does not have.
    """
    store = ClinicStore(folder / "clinics.db")
    try:
        clinics = store.clinics()
        members = [name for name, clinic in clinics.items() if clinic.state not in GONE]
        names = [name.strip() for name in revoked.split(",") if name.strip()]
        if members and not names:
            raise UserError(
                "H4",
                f"The backup was made on {time.strftime('%d %B %Y, %H:%M', time.gmtime(made))} UTC. Clinics whose keys "
                f"were revoked or replaced since then would be members again, with them. It has: {', '.join(members)}. "
                f"Name those clinics, or say {NONE}: --revoked porto,lisbon (with make restore: REVOKED=porto,lisbon).",
            )
        names = [] if names == [NONE] else names
        if unknown := next((name for name in names if name not in clinics), ""):
            raise UserError(
                "H4",
                f"The backup has no clinic {unknown!r}. It has: {', '.join(clinics)}. Leave out those that joined later: "
                "their keys are not in it.",
            )
        audit = AuditLog(folder / "audit.jsonl", store, (folder / "identity" / "audit.key").read_bytes())
        store.change("DELETE FROM logins")  # a session may have been ended since
        for invite in store.invites():
            if invite.state == "open":
                store.withdraw_invite(invite.name, "A backup was restored")
                audit.write("invite_withdrawn", clinic=invite.name, by="restore")
        for name in names:
            if name in members:
                key = fingerprint(store.set_state(name, "revoked", _REASON).public_key)
                audit.write("revoked", clinic=name, reason=_REASON, key=key, by="restore")
    finally:
        store.close()
