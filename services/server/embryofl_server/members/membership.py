"""Who may take part: invites, enrolment, approval, suspension, revocation, and what a clinic is told of its standing."""

import logging
import re
import secrets
import time
from collections.abc import Callable
from typing import Any

from embryofl.data_statistics import DataStatistics, others_of
from embryofl.errors import UserError
from embryofl.invite import Invite
from embryofl.membership import (
    Enrolment,
    HubContact,
    KeyChange,
    LeaveRequest,
    MembershipStatus,
    RejectedReply,
    StatusRequest,
    proof_text,
)
from embryofl_server.members.proofs import canonical, fingerprint, signed_by
from embryofl_server.members.sessions import Sessions, in_words
from embryofl_server.members.store import GONE, Clinic, ClinicStore, EnrolmentRejected

log = logging.getLogger("embryofl.membership")

OF_NOW_S = 300.0  # a wish to leave, or to change the key, is good for so long


class MembershipService:
    """The federation's door.

    Parameters
    ----------
    store : ClinicStore
    audit : callable
        Writes to the audit log.
    make_invite : callable
        From a clinic's name and secret to its invite.
    admit : callable
        Makes the SuperLink's keys those of the store; called before the audit log is written, whatever becomes of that.
    invite_days : float
        For how long an invite is good, where nothing else is said.
    link : callable
        How the hub is reached and known, as clinics are told.
    heard : callable
        Told a clinic's public key and what it trusts (`trust_mark`).
    manual : bool (default: False)
        A clinic with a valid invite waits until it is approved.
    """

    def __init__(
        self,
        store: ClinicStore,
        audit: Callable[..., None],
        make_invite: Callable[[str, str], Invite],
        admit: Callable[[], object],
        invite_days: float,
        *,
        manual: bool = False,
        link: Callable[[], HubContact | None] = lambda: None,
        heard: Callable[[str, str], None] = lambda key, mark: None,
    ) -> None:
        self._link, self._heard = link, heard
        self._store, self._audit, self._make_invite, self._admit = store, audit, make_invite, admit
        self._invite_days, self._manual = invite_days, manual
        self._idle: dict[str, float] = {}
        self.sessions = Sessions()

    def invite(self, name: str, by: str = "", days: float = 0) -> Invite:
        """A one-time invite for a clinic, good for `days` (0: what is usual here); its secret is not kept."""
        check_name(name)
        days = days or self._invite_days
        secret = self._store.invite(name, days)
        self._audit("invited", clinic=name, days=days, by=by)
        return self._make_invite(name, secret)

    def invite_again(self, name: str, by: str = "") -> Invite:
        """For a clinic that has joined and no longer finds or trusts this hub: addresses and authorities as of now. Its
        own key makes it a member; the secret is known to nobody, so that no other clinic can be made with this.

        Raises
        ------
        UserError
            When there is no such clinic, or it is gone.
        """
        state = self._store.clinic(name).state
        if state in GONE:
            raise UserError(
                f"{name} is {state}, and its key never works again. Let it join with a new key: "
                f"embryofl-server invite {name}"
            )
        self._audit("invited_again", clinic=name, by=by)
        return self._make_invite(name, secrets.token_urlsafe(24))

    def withdraw_invite(self, name: str, by: str) -> None:
        """Take an unused invite back.

        Raises
        ------
        UserError
            When there is none for that name.
        """
        self._store.withdraw_invite(name, "The coordinator took it back")
        self._audit("invite_withdrawn", clinic=name, by=by)

    def enrol(self, request: Enrolment) -> dict[str, Any]:
        """Take a clinic in.

        Raises
        ------
        EnrolmentRejected
            With the reason the clinic is told.
        """
        text = proof_text(request.name, request.secret, request.public_key)
        if not signed_by(request.public_key, request.proof, text):
            self._audit("enrolment_refused", clinic=request.name, reason="proof")
            raise EnrolmentRejected(
                "The proof that the clinic holds the private key of its public key is not valid (expected: an EC key of "
                "256 or 384 bits, and its signature)."
            )
        line = canonical(request.public_key)
        before = self._store.clinics().get(request.name)
        state = "waiting" if self._manual else "enrolled"
        try:
            clinic = self._store.enrol(request.name, request.secret, line, request.meaning, request.summary, state)
        except EnrolmentRejected as exc:
            self._audit("enrolment_refused", clinic=request.name, reason=str(exc))
            raise
        if before is None or before.public_key != clinic.public_key:
            self._admit()
            event = "asked_to_join" if clinic.state == "waiting" else "enrolled"
            self._audit(event, clinic=clinic.name, key=fingerprint(line), summary=clinic.summary)
        return {"name": clinic.name, "state": clinic.state}

    def approve(self, name: str, by: str) -> Clinic:
        """Let a clinic in that waits for approval.

        Raises
        ------
        UserError
            When there is no such clinic, or it does not wait.
        """
        self._must_wait(name)
        clinic = self._store.set_state(name, "enrolled", "")
        self._admit()
        self._audit("enrolled", clinic=name, key=fingerprint(clinic.public_key), summary=clinic.summary, by=by)
        return clinic

    def refuse(self, name: str, reason: str, by: str) -> Clinic:
        """Turn a clinic away that waits for approval; its key can not ask again.

        Raises
        ------
        UserError
            When there is no such clinic, or it does not wait.
        """
        self._must_wait(name)
        clinic = self._store.set_state(name, "refused", reason)
        self._audit("refused", clinic=name, reason=reason, key=fingerprint(clinic.public_key), by=by)
        return clinic

    def _must_wait(self, name: str) -> None:
        state = self._store.clinic(name).state
        if state != "waiting":
            raise UserError(f"{name} is {state}, it does not wait for approval.")

    def revoke(self, name: str, reason: str, by: str) -> Clinic:
        """End a clinic's membership. Its key never works again, here or after any restart; no other clinic notices.

        Raises
        ------
        UserError
            When there is no such clinic, or it is gone already.
        """
        clinic = self._store.set_state(name, "revoked", reason)
        self._admit()
        self._audit("revoked", clinic=name, reason=reason, key=fingerprint(clinic.public_key), by=by)
        log.warning("%s is revoked: %s", name, reason)
        return clinic

    def leave(self, request: LeaveRequest) -> None:
        """A clinic leaves by its own wish. Its key never works again.

        Raises
        ------
        EnrolmentRejected
            When it is not signed with the clinic's key, or not just now; when the clinic is gone already.
        """
        name = self._store.current_name(request.name)
        clinic = self._store.clinics().get(name)
        if clinic is None or not signed_by(clinic.public_key, request.proof, request.text()):
            raise EnrolmentRejected("This clinic is not known here by this key.")
        if clinic.state in GONE:
            raise EnrolmentRejected(f"This clinic is {clinic.state} already.")
        _must_be_of_now(request.asked)
        self._store.set_state(name, "left", "It left by its own wish")
        self._admit()
        self._audit("left", clinic=name, key=fingerprint(clinic.public_key))
        log.warning("%s has left", name)

    def change_key(self, request: KeyChange) -> None:
        """A clinic changes its key: the new one works at once, the old one never again. Saying it twice is harmless.

        Raises
        ------
        EnrolmentRejected
            When it is not signed with both keys, or not just now; when the new key cannot be used.
        """
        name = self._store.current_name(request.name)
        clinic = self._store.clinics().get(name)
        line = canonical(request.public_key)
        if clinic is None or not signed_by(line, request.new_proof, request.text()):
            raise EnrolmentRejected("This clinic is not known here by this key.")
        if clinic.state in GONE and signed_by(clinic.public_key, request.proof, request.text()):
            raise EnrolmentRejected(
                f"This clinic is {clinic.state}: its key never works again, and no other takes its place."
            )
        if clinic.state in GONE:
            raise EnrolmentRejected("This clinic is not known here by this key.")
        if clinic.public_key == line:
            return  # the answer was lost
        if not signed_by(clinic.public_key, request.proof, request.text()):
            raise EnrolmentRejected("This clinic is not known here by this key.")
        _must_be_of_now(request.asked)
        before = fingerprint(clinic.public_key)
        self._store.change_key(name, clinic.public_key, line)
        self._admit()
        self._audit("key_changed", clinic=name, before=before, key=fingerprint(line))

    def rename(self, old: str, new: str, by: str) -> Clinic:
        """Give a clinic another name, which it learns at its next question.

        Raises
        ------
        UserError
            When there is no such clinic, or the new name cannot be used.
        """
        check_name(new)
        clinic = self._store.rename(old, new)
        self._admit()
        self._audit("renamed", clinic=new, before=old, by=by)
        return clinic

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

    def standing(self, question: StatusRequest, address: str = "") -> MembershipStatus:
        """What a clinic may know of its own standing: state, since when, why, its newest refusals, its name here, and the
        hub's clock. Who holds a key that never works again is told so. `address` is where it asks from.

        Raises
        ------
        EnrolmentRejected
            When the question is not signed with a key that is or was that of a clinic of that name.
        """
        name = self._store.current_name(question.name)
        clinic = self._store.clinics().get(name)
        if clinic is not None and signed_by(clinic.public_key, question.proof, question.text()):
            if clinic.state not in GONE:
                self._idle[name] = time.time()
                self._note_session(name, question.session, address)
                self._heard(clinic.public_key, question.trusts)
                self._note_policy(clinic, question)
            newest = self._store.refusals(name)[-1:]
            others = others_of(name, self.statistics()) if clinic.state == "enrolled" else None
            return MembershipStatus(
                state=clinic.state,
                since=clinic.since,
                reason=clinic.reason,
                time=time.time(),
                name=name,
                refused=RejectedReply(**newest[0]) if newest else None,
                others=others if others and others.digest != question.knows else None,
                link=self._link() if clinic.state not in GONE else None,
            )
        for dead in self._store.dead_keys(name):
            if signed_by(dead.public_key, question.proof, question.text()):
                return MembershipStatus(
                    state=dead.state, since=dead.time, reason=dead.reason, refused=None, time=time.time(), name=name
                )
        raise EnrolmentRejected("This clinic is not known here by this key.")

    def _note_policy(self, clinic: Clinic, question: StatusRequest) -> None:
        """A no counts at once. A yes counts only of now, so that an old one that is said again takes no no back."""
        if question.shows is None or question.shows == clinic.shows_metrics:
            return
        if question.shows and abs(time.time() - question.asked) > OF_NOW_S:
            return
        self._store.set_shows(clinic.name, question.shows)
        self._audit("showing_changed", clinic=clinic.name, shows_metrics=question.shows)

    def statistics(self) -> dict[str, DataStatistics]:
        """What the images of each clinic that takes part come to together, of those that told it when they joined."""
        taking_part = (c for c in self._store.clinics().values() if c.state in ("enrolled", "suspended"))
        return {c.name: found for c in taking_part if (found := c.statistics)}

    def _note_session(self, name: str, session: str, address: str) -> None:
        if self.sessions.heard(name, session, address):
            where = in_words(self.sessions.twice()[name])
            self._audit("key_used_twice", clinic=name, where=where)
            log.warning("the key of %s is used in two places at once (from %s): was it copied?", name, where)

    def idle_at(self, name: str) -> float:
        """When a clinic last asked how it stands, which it does only while it has nothing to do. 0 = never."""
        return self._idle.get(name, 0.0)


def _must_be_of_now(asked: float) -> None:
    if abs(time.time() - asked) > OF_NOW_S:
        raise EnrolmentRejected("This was not asked just now, but is said again, or the clinic's clock is wrong.")


def check_name(name: str) -> None:
    """Refuse what cannot be a clinic's name.

    Raises
    ------
    UserError
    """
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", name) or name == "pooled":
        raise UserError(
            f"{name!r} cannot be a clinic's name. Use up to 40 small letters, digits and hyphens, such as 'lisbon'."
        )
