"""What takes two persons, where the hub is set so."""

import pytest

from embryofl.settings import RunSettings
from embryofl_server.api.second_person import lowered
from embryofl_server.state import requests
from kits.enrolment import audit, join
from kits.hubs import client_of, headers_of
from kits.people import PASSWORD, cheapen_hashes


@pytest.fixture
def hub(make_hub, monkeypatch, key):
    cheapen_hashes(monkeypatch)
    hub = make_hub(second_person=True)
    join(hub, "lisbon", key)
    return hub


@pytest.fixture
def ask(hub):
    """`ask(person, path, **body)`: the response to a person, or to the operator."""
    api = client_of(hub)
    sessions = {}
    for name, role in (("anna", "coordinator"), ("bert", "coordinator"), ("cleo", "viewer")):
        hub.people.add(name, role, PASSWORD)
        sessions[name] = hub.people.log_in(name, PASSWORD)

    def asking(person, path, **body):
        headers = headers_of(hub, "operator" if person == "operator" else "console", sessions.get(person, ""))
        return api.post(f"/control/{path}", json=body, headers=headers)

    asking.api, asking.sessions = api, sessions
    return asking


def test_revocation_waits_until_another_coordinator_confirms_it(hub, ask):
    first, again = (ask("anna", "revoke", name="lisbon", reason="over") for _ in "12")
    assert first.status_code == again.status_code == 202 and first.json() == again.json()
    assert "request 1 (revoke lisbon) waits" in first.json()["waits"]
    assert hub.store.clinic("lisbon").state == "enrolled"
    for person, status in (("anna", 400), ("operator", 400), ("cleo", 403)):
        assert ask(person, "requests/confirm", number=1).status_code == status, person
    assert hub.store.clinic("lisbon").state == "enrolled"
    assert ask("bert", "requests/confirm", number=1).json() == {"what": "revoke lisbon"}
    assert (hub.store.clinic("lisbon").state, hub.store.clinic("lisbon").reason) == ("revoked", "over")
    assert audit(hub, "revoked")[-1]["by"] == "anna, confirmed by bert"
    assert [(e["what"], e["by"]) for e in audit(hub, "second_person_asked")] == [("revoke lisbon", "anna")]
    assert ask("bert", "requests/confirm", number=1).status_code == 400  # once


def test_operator_alone_neither_revokes_nor_changes_the_authority(hub, ask):
    for path, body in (("revoke", {"name": "lisbon"}), ("authority", {}), ("authority", {"finish": True})):
        response = ask("operator", path, **body)
        assert response.status_code == 400 and "(H12" in response.json()["error"]
    assert hub.requests.waiting() == [] and not hub.identity.rotating


def test_authority_is_changed_by_two(hub, ask):
    assert ask("anna", "authority").status_code == 202 and not hub.identity.rotating
    assert ask("bert", "requests/confirm", number=1).status_code == 200 and hub.identity.rotating
    assert ask("bert", "authority", finish=True, without=["lisbon"]).status_code == 202
    what = ask("anna", "requests/confirm", number=2).json()["what"]
    assert what == "finish replacing the certificate authority, without lisbon" and not hub.identity.rotating


def test_run_that_lowers_a_protection_waits_and_any_other_starts(hub, ask):
    weak = {"model": "small_cnn", "norm_bound": 0, "secure_aggregation": "off"}
    assert ask("anna", "runs", settings=weak).status_code == 202 and hub.runs.all() == []
    assert ask("anna", "runs", settings={"model": "small_cnn"}).json()["name"] == "run-0001"
    assert ask("bert", "requests/confirm", number=1).status_code == 200
    assert hub.runs.all()[-1].settings.secure_aggregation == "off"
    assert ask("operator", "runs", settings=weak).status_code == 400
    assert lowered(RunSettings(**weak)) == ["norm_bound=0.0", "secure_aggregation=off"]
    assert lowered(RunSettings()) == lowered(RunSettings(norm_clip=2, suspend_after=1)) == []
    assert lowered(RunSettings(suspend_after=0, share_cap=0.9)) == ["suspend_after=0", "share_cap=0.9"]


def test_waiting_request_is_shown_and_can_be_withdrawn(hub, ask):
    ask("anna", "revoke", name="lisbon")
    shown = ask.api.get("/control/state", headers=headers_of(hub, "console")).json()["hub"]["requests"]
    assert [(r["number"], r["person"], r["what"]) for r in shown] == [(1, "anna", "revoke lisbon")]
    assert ask("cleo", "requests/withdraw", number=1).status_code == 403
    assert ask("bert", "requests/withdraw", number=1).status_code == 200
    assert hub.requests.waiting() == [] and audit(hub, "second_person_withdrawn")[-1]["by"] == "bert"


def test_request_of_a_disabled_person_or_an_old_one_is_not_done(hub, ask, monkeypatch):
    ask("anna", "revoke", name="lisbon")
    hub.people.disable("anna")
    hub.people.add("anna", "viewer", PASSWORD)
    assert ask("bert", "requests/confirm", number=1).status_code == 400
    ask("bert", "revoke", name="lisbon")
    now = requests.time.time()
    monkeypatch.setattr(requests.time, "time", lambda: now + requests.KEPT_S + 1)
    assert hub.requests.waiting() == [] and hub.store.clinic("lisbon").state == "enrolled"


def test_one_person_is_enough_unless_the_hub_is_set_so(make_hub, ask):
    restarted = make_hub()
    api = client_of(restarted, headers_of(restarted, "console", ask.sessions["anna"]))
    assert api.post("/control/revoke", json={"name": "lisbon"}).json() == {"state": "revoked"}
