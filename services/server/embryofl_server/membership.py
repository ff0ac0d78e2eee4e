"""Who may take part: invites, enrolment, suspension, and what a clinic is told of its standing."""

import logging
import re
import time
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from embryofl.errors import UserError
from embryofl.invite import Invite
from embryofl.messages import Enrolment, Refusal, Standing, StandingQuestion, proof_text
from embryofl_server.store import Clinic, Refused, Store

log = logging.getLogger("embryofl.membership")


class Membership:
    """The federation's door.

    Parameters
    ----------
    store : Store
    audit : callable
        Writes to the audit log.
    make_invite : callable
        From a clinic's name and secret to its invite.
    admit : callable
        Makes new keys known to the SuperLink.
    """

    def __init__(
        self, store: Store, audit: Callable[..., None], make_invite: Callable[[str, str], Invite],
        admit: Callable[[], None], invite_days: float,
    ) -> None:  # fmt: skip
        self._store, self._audit, self._make_invite, self._admit = store, audit, make_invite, admit
        self._invite_days = invite_days
        self._idle: dict[str, float] = {}

    def invite(self, name: str, by: str = "") -> Invite:
        """A one-time invite for a clinic; its secret is not kept."""
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", name) or name == "pooled":
            raise UserError(
                f"{name!r} cannot be a clinic's name. Use up to 40 small letters, digits and hyphens, such as 'lisbon'."
            )
        secret = self._store.invite(name, self._invite_days)
        self._audit("invited", clinic=name, by=by)
        return self._make_invite(name, secret)

    def enrol(self, request: Enrolment) -> dict[str, Any]:
        """Take a clinic in.

        Raises
        ------
        Refused
            With the reason the clinic is told.
        """
        try:
            key = load_ssh_public_key(request.public_key.encode())
            if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in ("secp384r1", "secp256r1"):
                raise Refused("The public key is not an EC key of 256 or 384 bits.")
            text = proof_text(request.name, request.secret, request.public_key)
            key.verify(bytes.fromhex(request.proof), text, ec.ECDSA(SHA256()))
        except (ValueError, InvalidSignature):
            self._audit("enrolment_refused", clinic=request.name, reason="proof")
            raise Refused("The proof that the clinic holds its private key is not valid.") from None
        line = " ".join(request.public_key.split()[:2])  # without the comment, which could be anything
        new = request.name not in self._store.clinics()
        try:
            clinic = self._store.enrol(request.name, request.secret, line, request.meaning, request.summary)
        except Refused as exc:
            self._audit("enrolment_refused", clinic=request.name, reason=str(exc))
            raise
        if new:
            self._audit("enrolled", clinic=clinic.name, summary=clinic.summary)
            self._admit()
        return {"name": clinic.name, "state": clinic.state}

    def suspend(self, name: str, reason: str, by: str) -> Clinic:
        """Take a clinic out until it is resumed. It stays connected, and no other clinic notices anything.

        Raises
        ------
        UserError
            When there is no such clinic, or it is suspended already.
        """
        clinic = self._store.set_state(name, "suspended", reason)
        self._audit("suspended", clinic=name, reason=reason, by=by)
        log.warning("%s is suspended: %s", name, reason)
        return clinic

    def resume(self, name: str, by: str) -> Clinic:
        """Let a suspended clinic take part again, from the next round on.

        Raises
        ------
        UserError
            When there is no such clinic, or it is not suspended.
        """
        clinic = self._store.set_state(name, "enrolled", "")
        self._audit("resumed", clinic=name, by=by)
        return clinic

    def standing(self, question: StandingQuestion) -> Standing:
        """What a clinic may know of its own standing: state, since when, why, its newest refusals, and the hub's clock.

        Raises
        ------
        Refused
            When the question is not signed with the key of a clinic of that name.
        """
        clinic = self._store.clinics().get(question.name)
        try:
            if clinic is None:
                raise InvalidSignature
            key = load_ssh_public_key(clinic.public_key.encode())
            assert isinstance(key, ec.EllipticCurvePublicKey)
            key.verify(bytes.fromhex(question.proof), question.text(), ec.ECDSA(SHA256()))
        except (ValueError, InvalidSignature):
            raise Refused("This clinic is not known here by this key.") from None
        self._idle[clinic.name] = time.time()
        newest = self._store.refusals(clinic.name)[-1:]
        refused = Refusal(**newest[0]) if newest else None
        return Standing(state=clinic.state, since=clinic.since, reason=clinic.reason, refused=refused, time=time.time())

    def idle_at(self, name: str) -> float:
        """When a clinic last asked how it stands, which it does only while it has nothing to do. 0 = never."""
        return self._idle.get(name, 0.0)
