"""A clinic's membership in order: invite, enrol, approve, status, suspend, change, revoke or leave."""

import logging
import re
import secrets
import time
from typing import Any, get_args

from embryofl.clinic_keys import authorities, canonical, fingerprint, signed_by
from embryofl.data_statistics import DataStatistics, others_of
from embryofl.errors import UserError
from embryofl.invite import Invite
from embryofl.membership import (
    METRICS,
    PROGRAM,
    SHOWS,
    Enrolment,
    KeyChange,
    LeaveRequest,
    MembershipStatus,
    RejectedReply,
    Releases,
    StatusRequest,
    proof_text,
)
from embryofl_server.audit.log import AuditLog
from embryofl_server.members.authority import Authority
from embryofl_server.members.contact import Contact
from embryofl_server.members.invites import EnrolmentRejected
from embryofl_server.members.keys import KeySync
from embryofl_server.members.limits import CHOICES, KEY_CHANGES, REFUSALS, Limit
from embryofl_server.members.sessions import Sessions, describe_addresses
from embryofl_server.members.store import GONE, Clinic, ClinicStore, state_label

log = logging.getLogger("embryofl.membership")

FRESH_S = (
    300.0  # a request to leave, to change the key, or to show or release more metrics must be signed within this time
)
_LESS = get_args(Releases).index  # the higher, the less is released
UNKNOWN = "The hub does not recognise this clinic's name and key."


class MembershipService:
    """What the coordinator and the clinics may do about membership. Every change is in the audit log, `by` whom
    where the coordinator makes it.

    What the coordinator does raises `UserError` when there is no such clinic, or its state does not allow it. What a clinic
    asks for raises `EnrolmentRejected` with the reason that the clinic is given.

    Parameters
    ----------
    store : ClinicStore
    audit : AuditLog
    keys : KeySync
        Updated before the audit log is written: a full disk must not keep a revoked key alive.
    authority : Authority
        Records which certificate authorities each clinic trusts.
    contact : Contact
        How clinics reach and trust this hub.
    invite_days : float
        How long an invite is valid by default.
    manual, manual_here : bool (default: False)
        A clinic with a valid invite waits until the coordinator approves it; the same for clinics on this machine.
    """

    def __init__(
        self,
        store: ClinicStore,
        audit: AuditLog,
        keys: KeySync,
        authority: Authority,
        contact: Contact,
        invite_days: float,
        *,
        manual: bool = False,
        manual_here: bool = False,
    ) -> None:
        self._store, self._audit, self._keys, self._authority, self._contact = store, audit, keys, authority, contact
        self._invite_days, self._manual, self._manual_here = invite_days, manual, manual_here
        self._idle: dict[str, float] = {}
        self._refusals, self._unrecorded = Limit(REFUSALS), 0
        self._choices, self._key_changes = Limit(CHOICES), Limit(KEY_CHANGES)
        self.sessions = Sessions()

    # -- invite -----------------------------------------------------------------------------------------------------
    def invite(self, name: str, by: str = "", days: float = 0, *, local: bool = False) -> Invite:
        """A one-time invite for a clinic, valid for `days` (0 = default); its secret is not kept. `local`: the clinic is
        started on this machine."""
        check_name(name)
        days = days or self._invite_days
        secret = self._store.invite(name, days)
        self._store.set_fact(f"local {name}", "yes" if local else "")
        self._audit.write("invited", clinic=name, days=days, by=by)
        return self._contact.invite(name, secret)

    def reconnect_invite(self, name: str, by: str = "") -> Invite:
        """For an enrolled clinic that no longer finds or trusts this hub: the current addresses and authorities. The
        clinic's own key proves its membership. Nobody knows the secret, so this invite cannot enrol another clinic."""
        self._store.member(name)
        self._audit.write("invited_again", clinic=name, by=by)
        return self._contact.invite(name, secrets.token_urlsafe(24))

    def withdraw_invite(self, name: str, by: str) -> None:
        """Cancel an unused invite."""
        self._store.withdraw_invite(name, "The coordinator withdrew it")
        self._audit.write("invite_withdrawn", clinic=name, by=by)

    # -- enrol ------------------------------------------------------------------------------------------------------
    def enrol(self, request: Enrolment) -> dict[str, Any]:
        """Enrol a clinic, or note that it awaits approval."""
        text = proof_text(request.name, request.secret, request.public_key)
        if not signed_by(request.public_key, request.proof, text):
            self._record_refusal(request.name, "proof")
            raise EnrolmentRejected(
                "J3",
                "The proof that the clinic holds the private key of its public key is not valid (expected: an EC key of "
                "256 or 384 bits, and its signature).",
            )
        line = canonical(request.public_key)
        summary = {**request.summary, PROGRAM: request.program.model_dump()}
        before = self._store.clinics().get(request.name)
        manual = self._manual_here if self._store.fact(f"local {request.name}") else self._manual
        state = "waiting" if manual else "enrolled"
        try:
            clinic = self._store.enrol(request.name, request.secret, line, request.meaning, summary, state)
        except EnrolmentRejected as exc:
            self._record_refusal(request.name, exc.text)
            raise
        if before is None or before.public_key != clinic.public_key:
            self._keys.admit()
            event = "asked_to_join" if clinic.state == "waiting" else "enrolled"
            self._audit.write(event, clinic=clinic.name, key=fingerprint(line), summary=clinic.summary)
        return {"name": clinic.name, "state": clinic.state}

    def _record_refusal(self, name: str, reason: str) -> None:
        """Anybody can be rejected, as often as they like: a line says how many before it have none."""
        if self._refusals.reached(""):
            self._unrecorded += 1
            return
        self._refusals.count("")
        more = {"unrecorded": self._unrecorded} if self._unrecorded else {}
        self._audit.write("enrolment_refused", clinic=name, reason=reason, **more)
        self._unrecorded = 0

    # -- approve ----------------------------------------------------------------------------------------------------
    def approve(self, name: str, by: str, images: int | None = None) -> Clinic:
        """Enrol a clinic that is awaiting approval, or confirm that an enrolled one has more data than before.

        Parameters
        ----------
        name, by : str
        images : int, optional
            Its labelled images, which bound its weight; by default those that it reported on joining.
        """
        before = self._store.member(name)
        if before.state == "waiting":
            self._store.approve_images(name, before.labelled if images is None else images)
            clinic = self._store.set_state(name, "enrolled", "")
            self._keys.admit()
            facts = {"key": fingerprint(clinic.public_key), "summary": clinic.summary, "approved": clinic.approved}
            self._audit.write("enrolled", clinic=name, **facts, by=by)
            return clinic
        if images is None:
            raise UserError(
                "H6",
                f"{name} is {state_label(before.state)}, not awaiting approval. If its data has grown: "
                f"embryofl-server approve {name} --images NUMBER",
            )
        self._store.approve_images(name, images)
        self._audit.write("images_approved", clinic=name, approved=images, before=before.approved, by=by)
        return self._store.clinic(name)

    def decline(self, name: str, reason: str, by: str) -> Clinic:
        """Decline a clinic that is awaiting approval. Its key cannot be used to ask again."""
        if (state := self._store.clinic(name).state) != "waiting":
            raise UserError("H6", f"{name} is {state_label(state)}, not awaiting approval.")
        clinic = self._store.set_state(name, "refused", reason)
        self._audit.write("refused", clinic=name, reason=reason, key=fingerprint(clinic.public_key), by=by)
        return clinic

    # -- status -----------------------------------------------------------------------------------------------------
    def status(self, request: StatusRequest, address: str | None = "") -> MembershipStatus:
        """Answer a clinic that asks for its status. The holder of a retired key learns that it is retired.

        Parameters
        ----------
        request : StatusRequest
        address : str or None (default: "")
            Where the request came from; None: it has been held, and was recorded when it came.
        """
        name, clinic = self._signer(request)
        if clinic is None:
            return self._status_of_retired_key(name, request)
        present = clinic.state not in GONE
        if present and address is not None:
            self._idle[name] = time.time()
            self._record_session(name, request.session, address)
            self._authority.record_trust(clinic.public_key, request.trusts)
            self._record_choice(clinic, request)
        rejections = self._store.rejections(name)
        others = others_of(name, self.statistics()) if clinic.state == "enrolled" else None
        return MembershipStatus(
            state=clinic.state,
            since=clinic.since,
            reason=clinic.reason,
            time=time.time(),
            name=name,
            refused=RejectedReply(**rejections[-1]) if rejections else None,
            others=others if others and others.digest != request.knows else None,
            link=self._contact.signed() if present else None,
        )

    def _signer(self, request: StatusRequest | LeaveRequest | KeyChange) -> tuple[str, Clinic | None]:
        """The present name of the clinic that a request names, and the clinic if its key signed the request."""
        name = self._store.current_name(request.name)
        clinic = self._store.clinics().get(name)
        signed = clinic is not None and signed_by(clinic.public_key, request.proof, request.text())
        return name, clinic if signed else None

    def _status_of_retired_key(self, name: str, request: StatusRequest) -> MembershipStatus:
        for key in self._store.retired_keys(name):
            if signed_by(key.public_key, request.proof, request.text()):
                return MembershipStatus(
                    state=key.state, since=key.time, reason=key.reason, refused=None, time=time.time(), name=name
                )
        raise EnrolmentRejected("J4", UNKNOWN)

    def _record_choice(self, clinic: Clinic, request: StatusRequest) -> None:
        """Apply a step towards less at once, one towards more only if just signed: a replayed opt-in must not undo a later
        opt-out. Steps towards more are limited, and with them the lines that a clinic writes by changing its mind; one
        that comes too early is applied at a later request."""
        if request.shows != clinic.shows_metrics and (not request.shows or self._may_choose_more(clinic, request)):
            self._store.set_choices(clinic.name, {SHOWS: request.shows})
            self._audit.write("showing_changed", clinic=clinic.name, shows_metrics=request.shows)
        if request.program != clinic.program and _fresh(request.asked):
            self._store.set_choices(clinic.name, {PROGRAM: request.program.model_dump()})
        less = _LESS(request.metrics) > _LESS(clinic.metrics)
        if request.metrics != clinic.metrics and (less or self._may_choose_more(clinic, request)):
            self._store.set_choices(clinic.name, {METRICS: request.metrics})
            self._audit.write("metrics_changed", clinic=clinic.name, metrics=request.metrics)

    def _may_choose_more(self, clinic: Clinic, request: StatusRequest) -> bool:
        if not _fresh(request.asked) or self._choices.reached(clinic.name):
            return False
        self._choices.count(clinic.name)
        return True

    def _record_session(self, name: str, session: str, address: str) -> None:
        if self.sessions.record_session(name, session, address):
            where = describe_addresses(self.sessions.twice()[name])
            self._audit.write("key_used_twice", clinic=name, where=where)
            log.warning("the key of %s is used in two places at once (from %s): was it copied?", name, where)

    def idle_at(self, name: str) -> float:
        """When a clinic last asked for its status, which it does only while it has nothing to do. 0 = never."""
        return self._idle.get(name, 0.0)

    def statistics(self) -> dict[str, DataStatistics]:
        """The image statistics of each present clinic that has reported them."""
        present = (c for c in self._store.clinics().values() if c.state in ("enrolled", "suspended"))
        return {c.name: c.statistics for c in present if c.statistics}

    # -- suspend ----------------------------------------------------------------------------------------------------
    def suspend(self, name: str, reason: str, by: str) -> Clinic:
        """Leave a clinic out of rounds until it is reinstated. It stays connected; no other clinic notices."""
        clinic = self._store.set_state(name, "suspended", reason)
        self._audit.write("suspended", clinic=name, reason=reason, by=by)
        log.warning("%s is suspended: %s", name, reason)
        return clinic

    def reinstate(self, name: str, by: str) -> Clinic:
        """End a clinic's suspension; it takes part from the next round on."""
        clinic = self._store.set_state(name, "enrolled", "")
        self._audit.write("resumed", clinic=name, by=by)
        return clinic

    # -- change name or key -----------------------------------------------------------------------------------------
    def rename(self, old: str, new: str, by: str) -> Clinic:
        """Give a clinic another name, which it learns from its next status request."""
        check_name(new)
        clinic = self._store.rename(old, new)
        self._keys.admit()
        self._audit.write("renamed", clinic=new, before=old, by=by)
        return clinic

    def change_key(self, request: KeyChange) -> None:
        """A clinic changes its key: the new one works at once, the old one never again. Repeating it is harmless. Both keys
        must have signed the request just now, and for this hub."""
        name, signer = self._signer(request)
        here = request.authority in authorities(self._contact.current().ca)
        if not here or not signed_by(request.public_key, request.new_proof, request.text()):
            raise EnrolmentRejected("J4", UNKNOWN)
        line = canonical(request.public_key)
        clinic = self._store.clinics().get(name)
        if clinic and clinic.public_key == line and clinic.state not in GONE:
            return  # the response to the first request was lost
        clinic = _require_member(signer, request)
        if self._key_changes.reached(name):
            raise EnrolmentRejected(
                "C6", f"This clinic has changed its key {KEY_CHANGES.most} times within a day. Try again tomorrow."
            )
        self._key_changes.count(name)
        self._store.change_key(name, clinic.public_key, line, request)
        self._keys.admit()
        self._audit.write("key_changed", clinic=name, before=fingerprint(clinic.public_key), key=fingerprint(line))

    # -- revoke or leave --------------------------------------------------------------------------------------------
    def revoke(self, name: str, reason: str, by: str) -> Clinic:
        """End a clinic's membership. Its key never works again, also after a restart; no other clinic notices."""
        clinic = self._store.set_state(name, "revoked", reason)
        self._keys.admit()
        self._audit.write("revoked", clinic=name, reason=reason, key=fingerprint(clinic.public_key), by=by)
        log.warning("%s is revoked: %s", name, reason)
        return clinic

    def leave(self, request: LeaveRequest) -> None:
        """A clinic leaves, by a request that it signed just now. Its key never works again."""
        name, signer = self._signer(request)
        clinic = _require_member(signer, request)
        self._store.set_state(name, "left", "The clinic left")
        self._keys.admit()
        self._audit.write("left", clinic=name, key=fingerprint(clinic.public_key))
        log.warning("%s has left", name)


def _fresh(asked: float) -> bool:
    return abs(time.time() - asked) <= FRESH_S


def _require_member(signer: Clinic | None, request: LeaveRequest | KeyChange) -> Clinic:
    """The clinic that signed a request just now, if its membership has not ended."""
    if signer is None:
        raise EnrolmentRejected("J4", UNKNOWN)
    if signer.state in GONE:
        raise EnrolmentRejected("J7", f"This clinic's membership has ended (already {state_label(signer.state)}).")
    if not _fresh(request.asked):
        raise EnrolmentRejected(
            "C5", "The request's time is more than 5 minutes off: it is a replay, or the clinic's clock is wrong."
        )
    return signer


def check_name(name: str) -> None:
    """Raise `UserError` for what cannot be a clinic's name."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", name) or name == "pooled":
        raise UserError(
            "H6",
            f"{name!r} cannot be a clinic's name. Use up to 40 lower-case letters, digits and hyphens, such as 'lisbon'.",
        )
