"""The coordinator's view of clinics: invites, the list, statistics of their images, without a SuperLink."""

import hashlib
import io
import json
import ssl

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi.testclient import TestClient
from pydantic import ValidationError
from rich.console import Console

from embryofl.clinic_keys import fingerprint, openssh
from embryofl.data_statistics import release
from embryofl.errors import UserError
from embryofl.invite import Invite
from embryofl_server.api.app import create_app
from embryofl_server.api.status import image_statistics
from embryofl_server.cli.show_members import clinics_table, statistics_table
from embryofl_server.members.invites import EnrolmentRejected
from kits.enrolment import ask_status, audit, enrolment, join
from kits.hubs import client_of, headers_of


@pytest.fixture
def control(hub):
    api = client_of(hub, headers_of(hub))
    return lambda method, path, **body: api.request(method, f"/control/{path}", json=body or None).json()


def test_clinic_list_has_the_key_and_the_reported_data_counts(hub, control, key):
    secret = control("POST", "invites", name="anna", days=2)["invite"]
    summary = {"counts": {"5": {"0": 10, "1": "<5"}}, "patients": 12}
    hub.membership.enrol(enrolment("anna", Invite.parse(secret).secret, key=key, summary=summary))
    (anna,) = control("GET", "clinics")
    assert (anna["name"], anna["state"], anna["labelled"], anna["patients"]) == ("anna", "enrolled", 14, 12)
    assert anna["key"] == fingerprint(openssh(key)) and anna["certificate_expires"] > anna["enrolled"]
    shown = ssl.PEM_cert_to_DER_cert((hub.settings.state_dir / "identity" / "gateway" / "gateway.crt").read_text())
    assert anna["certificate"].replace(":", "").lower() == hashlib.sha256(shown).hexdigest()
    console = Console(file=io.StringIO(), width=200)
    console.print(clinics_table([anna]))
    table = console.file.getvalue()
    for words in (
        "anna",
        "Enrolled",
        "never",
        "14 labelled (quality), 12 patients; day 5: <5 label 1, 10 label 0",
        anna["key"],
        anna["certificate"],
        "hidden from other clinics",
    ):
        assert words in table, words
    assert control("POST", "revoke", name="anna", reason="over")["state"] == "revoked"
    (anna,) = control("GET", "clinics")
    assert (anna["state"], anna["reason"]) == ("revoked", "over")


def test_hostile_summary_does_nothing_to_the_coordinators_terminal(hub, control):
    """Valid and invalid markup of the library that prints the list; escape sequences."""
    hostile = "[/red] [link=https://evil.example]x[/link] \x1b[2J"
    summary = {"counts": {"5": {"0": hostile, "1": 10}, hostile: {"0": 1, "1": 1}}, "patients": hostile}
    join(hub, "anna", summary=summary)
    console = Console(file=io.StringIO(), width=200)
    console.print(clinics_table(control("GET", "clinics")))
    table = console.file.getvalue()
    assert "anna" in table and "- patients; day 5: 10 label 1, - label 0" in table
    assert "evil" not in table and "\x1b" not in table and "red" not in table


def test_invites_are_listed_without_secrets_and_can_be_withdrawn(hub, control):
    made = control("POST", "invites", name="anna", days=2)
    secret = Invite.parse(made["invite"]).secret
    (listed,) = control("GET", "invites")
    assert listed["state"] == "open" and abs(listed["expires"] - listed["created"] - 2 * 86_400) < 1
    assert listed["expires"] == made["expires"] and secret not in json.dumps(listed)
    control("POST", "invites/withdraw", name="anna")
    assert control("GET", "invites")[0]["state"] == "withdrawn"
    with pytest.raises(EnrolmentRejected, match="withdrawn: The coordinator withdrew it"):
        hub.membership.enrol(enrolment("anna", secret))
    assert "no unused invite" in control("POST", "invites/withdraw", name="anna")["error"]
    for text in (hub.settings.state_dir / "audit.jsonl").read_text(), repr(hub.store.invites()):
        assert secret not in text


def test_commands_to_send_leave_only_the_folder_to_fill_in(hub, control):
    from embryofl_server.cli.show_members import invite_text

    made = control("POST", "invites", name="anna")
    text = invite_text("anna", made["invite"], made["expires"], manual=False)
    replace, *lines = [x for x in text.splitlines() if "/PATH/TO/IMAGES" in x]
    assert replace.startswith("Replace") and "embryofl-clinic run" in lines[2]
    assert [x.split()[0] for x in lines] == ["docker", "podman", "embryofl-clinic"]
    assert all(x.count("/PATH/TO/IMAGES") == 1 for x in lines) and made["invite"] in text.splitlines()
    assert Invite.parse(made["invite"]).name == "anna" and "until" in text


# -- statistics of the images ---------------------------------------------------------------------------------------------
def data_summary(brightness: float) -> dict[str, object]:
    """The summary that a clinic with 40 images of this brightness sends."""
    rows = [(brightness + n % 9, 30 + n % 5, 1.0, 1.0, 9.0, 0.6 + 0.01 * (n % 9), *([62.5] * 16)) for n in range(40)]
    statistics = release(rows)
    assert statistics is not None
    return {"patients": 40, "counts": {}, "statistics": statistics.model_dump()}


def test_clinic_receives_pooled_statistics_of_others_once_and_never_of_a_single_clinic(hub):
    keys = {name: ec.generate_private_key(ec.SECP384R1()) for name in ("anna", "bert", "cleo")}
    for name, brightness in (("anna", 100.0), ("bert", 150.0), ("cleo", 170.0)):
        secret = hub.membership.invite(name).secret
        hub.membership.enrol(enrolment(name, secret, key=keys[name], summary=data_summary(brightness)))
        if name == "bert":
            assert hub.membership.status(ask_status(keys["anna"], "anna")).others is None  # only of bert
    others = hub.membership.status(ask_status(keys["anna"], "anna")).others
    assert (others.clinics, others.images) == (2, 80) and others.measures["brightness"].mean == pytest.approx(
        164, abs=0.5
    )
    assert hub.membership.status(ask_status(keys["anna"], "anna", knows=others.digest)).others is None
    hub.membership.suspend("anna", "why", by="me")
    assert hub.membership.status(ask_status(keys["anna"], "anna")).others is None
    hub.membership.revoke("cleo", "gone", by="me")
    assert hub.membership.status(ask_status(keys["bert"], "bert")).others is None  # anna alone is left

    statistics = image_statistics(hub)
    assert statistics["all"]["images"] == 80 and set(statistics["clinics"]) == {"anna", "bert"}


def test_coordinator_sees_which_clinic_differs(hub):
    for name, brightness in (("anna", 100.0), ("bert", 150.0), ("cleo", 151.0)):
        join(hub, name, summary=data_summary(brightness))
    with TestClient(create_app(hub)) as client:
        token = {"Authorization": f"Bearer {hub.identity.control_token}"}
        assert client.get("/control/statistics").status_code == 401
        statistics = client.get("/control/statistics", headers=token).json()
    console = Console(file=io.StringIO(), width=160)
    console.print(statistics_table(statistics))
    words = console.file.getvalue()
    assert "anna: brightness darker than the others'" in words and "brightness" in words and "█" in words
    assert statistics["clinics"]["anna"]["places"]["brightness"]["far"]


def test_malformed_statistics_are_rejected(hub):
    worse = data_summary(100.0)
    worse["statistics"]["clinics"] = 5
    for summary in (worse, {"statistics": {"images": 3}}, {"statistics": "many"}):
        with pytest.raises(ValidationError, match="statistics of"):
            enrolment("anna", "s" * 24, summary=summary)


# -- reconnect invites ------------------------------------------------------------------------------------------------------
def test_reconnect_invite_enrols_no_clinic(hub, control, key):
    """Neither while the clinic is enrolled nor after its revocation, when its name is free; its key stays valid until then."""
    join(hub, "anna", key)
    assert "invite anna --reconnect" in control("POST", "invites", name="anna")["error"]
    again = Invite.parse(control("POST", "invites", name="anna", again=True)["invite"])
    assert again.name == "anna" and again.ca == hub.contact.current().ca and again.hubs == hub.contact.current().hubs
    assert [i["state"] for i in control("GET", "invites")] == ["used"]
    assert hub.membership.status(ask_status(key, "anna")).state == "enrolled"
    for gone in (False, True):
        if gone:
            hub.membership.revoke("anna", "gone", by="me")
        with pytest.raises(EnrolmentRejected, match="does not recognise"):
            hub.membership.enrol(enrolment("anna", again.secret))
    with pytest.raises(UserError, match="never works again"):
        hub.membership.reconnect_invite("anna")
    assert "no clinic 'nobody'" in control("POST", "invites", name="nobody", again=True)["error"]
    assert [e["clinic"] for e in audit(hub, "invited_again")] == ["anna"]
