"""Who may join, and what each clinic learns about its membership."""

import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError

from embryofl.errors import UserError
from embryofl.membership import Enrolment, proof_text
from embryofl.protocol import our_program
from embryofl_server.members.invites import EnrolmentRejected
from kits.enrolment import SUMMARY, ask_status, enrolment, join


def test_invited_clinic_with_its_own_key_joins(hub):
    secret = hub.membership.invite("anna").secret
    assert hub.membership.enrol(enrolment("anna", secret)) == {"name": "anna", "state": "enrolled"}


def test_key_without_its_private_half_is_rejected(hub):
    secret, stranger = hub.membership.invite("anna").secret, ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(EnrolmentRejected, match="proof"):
        hub.membership.enrol(enrolment("anna", secret, signer=stranger))
    for proof in ("", "zz", "00" * 50):
        with pytest.raises(EnrolmentRejected, match="proof"):
            hub.membership.enrol(enrolment("anna", secret, proof=proof))
    assert hub.store.clinics() == {}


def test_proof_for_one_invite_is_rejected_for_another(hub):
    first, second = hub.membership.invite("anna").secret, hub.membership.invite("bert").secret
    made = enrolment("anna", first)
    for change in ({"name": "bert", "secret": second}, {"secret": second}, {"name": "bert"}):
        with pytest.raises(EnrolmentRejected):
            hub.membership.enrol(made.model_copy(update=change))


@pytest.mark.parametrize("counts", [None, {"5": {"0": 30}}, {"5": 12}, [30, 20]])
def test_enrolment_without_counts_is_rejected_because_nothing_would_bound_its_weight(hub, counts):
    secret = hub.membership.invite("anna").secret
    body = enrolment("anna", secret).model_dump() | {"summary": {} if counts is None else {"counts": counts}}
    with pytest.raises(ValidationError, match="no counts of images by day and label"):
        Enrolment.model_validate(body)


def test_other_kinds_of_key_are_rejected(hub):
    secret = hub.membership.invite("anna").secret
    key = ed25519.Ed25519PrivateKey.generate()
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    proof = key.sign(proof_text("anna", secret, line)).hex()
    for public in (line, "ssh-rsa AAAA", "rubbish", ""):
        with pytest.raises(EnrolmentRejected):
            body = {"name": "anna", "secret": secret, "public_key": public, "proof": proof, "summary": SUMMARY}
            hub.membership.enrol(Enrolment(**body, program=our_program()))


@pytest.mark.parametrize("name", ["", "Anna", "pooled", "../x", "a_b", "-a", "a" * 41, "a\n"])
def test_unusable_name_is_rejected(hub, name):
    with pytest.raises(UserError, match="name"):
        hub.membership.invite(name)


def test_only_the_suspended_clinic_learns_the_reason(hub):
    key, other = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    for name, clinic_key in (("anna", key), ("bert", other)):
        join(hub, name, key=clinic_key)
    hub.membership.suspend("anna", "three invalid replies", by="the gate")
    status = hub.membership.status(ask_status(key, "anna"))
    assert (status.state, status.reason) == ("suspended", "three invalid replies") and status.refused is None
    assert abs(status.time - time.time()) < 60
    assert hub.membership.status(ask_status(other, "bert")).state == "enrolled"
    for request in (
        ask_status(other, "anna"),
        ask_status(key, "nobody"),
        ask_status(key, "anna", signed_name="bert"),
        ask_status(key, "anna").model_copy(update={"proof": "zz"}),
        ask_status(key, "anna").model_copy(update={"asked": 2.5}),
    ):
        with pytest.raises(EnrolmentRejected):
            hub.membership.status(request)
