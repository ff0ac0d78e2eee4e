"""Enrolments and status requests, signed as a clinic signs them."""

import json
import time

from cryptography.hazmat.primitives.asymmetric import ec

from embryofl.clinic_keys import authorities, openssh, sign
from embryofl.membership import Enrolment, KeyChange, LeaveRequest, StatusRequest, proof_text, trust_mark
from embryofl.protocol import our_program

TRUSTS = trust_mark("an authority")
HUB = "a" * 64  # an authority of a hub, SHA-256
SUMMARY = {"counts": {"5": {"0": 30, "1": 20}}}


def enrolment(name: str, secret: str, key=None, signer=None, **changes) -> Enrolment:
    key = key or ec.generate_private_key(ec.SECP384R1())
    line = openssh(key)
    proof = sign(signer or key, proof_text(name, secret, line))
    body = {"name": name, "secret": secret, "public_key": line, "proof": proof, "program": our_program()}
    return Enrolment.model_validate({**body, **changes, "summary": SUMMARY | changes.get("summary", {})})


def ask_status(key, name, asked=1.5, signed_name=None, session="", knows="", **choices):
    """`choices`: shows, metrics, program, hold."""
    body = {"shows": False, "metrics": "own", "program": our_program(), **choices}
    body |= {"asked": asked, "session": session, "knows": knows, "trusts": TRUSTS}
    text = StatusRequest(name=signed_name or name, proof="", **body).text()
    return StatusRequest(name=name, proof=sign(key, text), **body)


def key_change(old, new, name="anna", asked=None, authority=HUB, **changes) -> KeyChange:
    asked = time.time() if asked is None else asked
    body = {"name": name, "asked": asked, "authority": authority, "public_key": openssh(new)}
    unsigned = KeyChange(**body, proof="", new_proof="")
    proofs = {"proof": sign(old, unsigned.text()), "new_proof": sign(new, unsigned.text())}
    return KeyChange.model_validate(unsigned.model_dump() | proofs | changes)


def key_change_at(hub, old, new, name="anna", asked=None, **changes) -> KeyChange:
    """One that the clinic signs for this hub."""
    return key_change(old, new, name, asked, authorities(hub.identity.ca.decode())[0], **changes)


def leaving(key, name, asked=None) -> LeaveRequest:
    unsigned = LeaveRequest(name=name, asked=time.time() if asked is None else asked, proof="")
    return unsigned.model_copy(update={"proof": sign(key, unsigned.text())})


def join(hub, name, key=None, secret=None, **changes):
    return hub.membership.enrol(enrolment(name, secret or hub.membership.invite(name).secret, key=key, **changes))


def audit(hub, event):
    lines = map(json.loads, (hub.settings.state_dir / "audit.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == event]
