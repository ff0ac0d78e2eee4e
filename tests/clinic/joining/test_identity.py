"""The clinic's identity, and how it enrols."""

import threading

import httpx
import pytest

from embryofl.clinic_keys import signed_by
from embryofl.errors import UserError
from embryofl.invite import HUB_NAME, Invite
from embryofl.membership import Enrolment, proof_text
from embryofl_clinic.joining import enrol as module
from embryofl_clinic.joining import route
from embryofl_clinic.joining.enrol import enrol
from embryofl_clinic.joining.identity import ClinicIdentity, JoinedHub
from kits.enrolment import SUMMARY

INVITE = Invite(name="anna", hubs=["one:1", "two:2"], ca="pem", server_name=HUB_NAME, secret="s" * 32)


def test_key_is_made_once_and_is_private(tmp_path):
    first, second = ClinicIdentity(tmp_path / "identity"), ClinicIdentity(tmp_path / "identity")
    assert first.public_key == second.public_key
    assert (tmp_path / "identity" / "clinic.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "identity").stat().st_mode & 0o777 == 0o700
    assert ClinicIdentity(tmp_path / "other").public_key != first.public_key


def test_membership_is_read_back_and_a_damaged_one_is_reported(tmp_path):
    identity, member = (
        ClinicIdentity(tmp_path / "identity"),
        JoinedHub(name="anna", hubs=["a:1"], ca="pem", server_name=HUB_NAME),
    )
    assert identity.membership is None
    identity.remember(member)
    assert ClinicIdentity(tmp_path / "identity").membership == member
    (tmp_path / "identity" / "hub.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        _ = identity.membership


def test_unwritable_state_folder_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        ClinicIdentity(tmp_path / "file" / "identity")


@pytest.fixture
def hub(monkeypatch):
    """`hub(handler)`: enrolment calls go to `handler(request)`."""
    monkeypatch.setattr(module, "RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(module, "RETRY_MOST_S", 0.002)

    def use(handler):
        monkeypatch.setattr(route, "open_transport", lambda hub, trust: httpx.MockTransport(handler))

    return use


def test_enrolment_proves_the_key_without_sending_its_private_half(hub, tmp_path):
    identity, requests = ClinicIdentity(tmp_path / "identity"), []

    def accept(request):
        requests.append(request)
        return httpx.Response(200, json={"name": "anna"})

    hub(accept)
    member = enrol(identity, INVITE, "quality", {"counts": {}}, threading.Event())
    assert member == identity.membership and member.hubs == ["one:1", "two:2"]
    sent = Enrolment.model_validate_json(requests[0].content)
    text = proof_text("anna", INVITE.secret, sent.public_key)
    assert signed_by(identity.public_key, sent.proof, text)
    private = identity.key.private_numbers().private_value
    for form in (str(private).encode(), f"{private:x}".encode(), b"PRIVATE"):
        assert form not in requests[0].content


def test_address_that_replied_is_used_first(hub, tmp_path):
    def second_only(request):
        if request.url.host == "one":
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json={})

    hub(second_only)
    assert enrol(ClinicIdentity(tmp_path / "i"), INVITE, "quality", SUMMARY, threading.Event()).hubs == [
        "two:2",
        "one:1",
    ]


def test_unreachable_hub_is_tried_again(hub, tmp_path):
    statuses = iter([502, 503, 502, 503, 200])
    hub(lambda request: httpx.Response(next(statuses), json={}))
    assert enrol(ClinicIdentity(tmp_path / "i"), INVITE, "quality", SUMMARY, threading.Event()).name == "anna"


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (httpx.Response(403, json={"error": "This invite has expired: ask for a new one."}), "expired"),
        (httpx.Response(404, text="Nothing here."), "404"),
        (httpx.Response(404, json=[1]), "404"),
    ],
)
def test_rejection_ends_enrolment_with_the_hubs_reason(hub, tmp_path, response, message):
    hub(lambda request: response)
    identity = ClinicIdentity(tmp_path / "i")
    with pytest.raises(UserError, match=message):
        enrol(identity, INVITE, "quality", SUMMARY, threading.Event())
    assert identity.membership is None


def test_stop_ends_the_wait_for_the_hub(hub, tmp_path):
    stop = threading.Event()
    stop.set()
    hub(lambda request: httpx.Response(502))
    with pytest.raises(UserError, match="Stopped"):
        enrol(ClinicIdentity(tmp_path / "i"), INVITE, "quality", SUMMARY, stop)
