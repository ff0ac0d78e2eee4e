"""The hub without its SuperLink: enrolment, starting runs, and the API's guards."""

import json
import time

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi.testclient import TestClient

from embryofl.errors import UserError
from embryofl.membership import Enrolment, proof_text
from embryofl_server.api.app import create_app
from embryofl_server.api.deps import RecentFailures
from embryofl_server.api.status import status
from embryofl_server.federation.blobs import BadUrl
from embryofl_server.hub import Hub
from embryofl_server.members.store import EnrolmentRejected
from embryofl_server.settings import HubSettings
from kits.enrolment import ask_status, enrolment


@pytest.fixture
def hub(tmp_path):
    found = Hub(HubSettings(state_dir=tmp_path / "hub", superlink_address="127.0.0.1:9"))
    yield found
    found.store.close()


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


def test_other_kinds_of_key_are_rejected(hub):
    secret = hub.membership.invite("anna").secret
    key = ed25519.Ed25519PrivateKey.generate()
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    proof = key.sign(proof_text("anna", secret, line)).hex()
    for public in (line, "ssh-rsa AAAA", "rubbish", ""):
        with pytest.raises(EnrolmentRejected):
            hub.membership.enrol(Enrolment(name="anna", secret=secret, public_key=public, proof=proof))


@pytest.mark.parametrize("name", ["", "Anna", "pooled", "../x", "a_b", "-a", "a" * 41, "a\n"])
def test_unusable_name_is_rejected(hub, name):
    with pytest.raises(UserError, match="name"):
        hub.membership.invite(name)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": "resnet999"}, ["resnet999", "small_cnn", "resnet18"]),
        ({"strategy": "fedmagic"}, ["fedmagic", "fedavg"]),
        ({"ronuds": 3}, ["ronuds", "rounds"]),
        ({"pretrained": "/nowhere.safetensors"}, ["/nowhere.safetensors"]),
    ],
)
def test_unusable_run_is_rejected_and_leaves_nothing(hub, values, words):
    with pytest.raises(UserError) as caught:
        hub.conductor.queue(values)
    assert all(w in str(caught.value) for w in words)
    assert hub.runs.all() == [] and list((hub.settings.state_dir / "runs").iterdir()) == []


def test_unusable_initial_weights_are_rejected(hub, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"hello")
    for path in (tmp_path / "x.safetensors", tmp_path / "missing", tmp_path):
        with pytest.raises(UserError, match="cannot be used"):
            hub.conductor.queue({}, str(path))
    assert hub.runs.all() == []


@pytest.fixture
def start(hub, tmp_path, packed):
    """Queue a run from given weights."""
    packed(0).tofile(tmp_path / "x.safetensors")
    return lambda **values: hub.conductor.queue(values, str(tmp_path / "x.safetensors"), by="somebody")


def test_second_run_is_queued(hub, start, packed):
    first, second = start(rounds=3), start()
    assert [r.state["state"] for r in (first, second)] == ["queued", "queued"]
    assert hub.runs.next() == first and status(hub, hub.overview.now())["run"]["name"] == first.name
    assert status(hub, hub.overview.now())["queued"] == [second.name]
    first.set_state("finished", 3)
    assert hub.runs.next() == second
    stored = np.fromfile(hub.settings.weights / first.name / "round-0000.safetensors", np.uint8)
    assert stored.tobytes() == packed(0).tobytes()


def test_paused_run_stays_paused_until_resumed_and_lets_others_pass(hub, start, tmp_path):
    first, second, third = start(), start(), start()
    hub.conductor.pause(second.name, by="somebody")
    assert second.state["state"] == "paused"
    first.set_state("finished", 3)
    assert hub.runs.next() == third
    hub.store.close()
    again = Hub(HubSettings(state_dir=tmp_path / "hub", superlink_address="127.0.0.1:9"))  # a restart
    assert again.runs.get(second.name).state["state"] == "paused" and again.runs.next() == third
    assert status(again, again.overview.now())["paused"] == [second.name]
    assert again.conductor.resume(by="somebody") == second and again.runs.next() == second
    again.store.close()


def test_queued_run_can_be_stopped(hub, start):
    first, second = start(), start()
    hub.conductor.stop(second.name, by="somebody")
    assert second.state["state"] == "stopped" and hub.runs.next() == first
    ended = [
        e
        for e in map(json.loads, (hub.settings.state_dir / "audit.jsonl").read_text().splitlines())
        if e["event"] == "run_ended"
    ]
    assert [(e["run"], e["state"], e["by"]) for e in ended] == [(second.name, "stopped", "somebody")]


def test_runs_that_cannot_be_stopped_paused_or_resumed_are_named(hub, start):
    for steer in (hub.conductor.stop, hub.conductor.pause, hub.conductor.resume):
        with pytest.raises(UserError, match="nothing to"):
            steer()
        with pytest.raises(UserError, match="no run 'run-0009'"):
            steer("run-0009")
    run, other = start(), start()
    hub.conductor.pause(other.name)
    with pytest.raises(UserError, match="paused"):
        hub.conductor.pause(other.name)
    with pytest.raises(UserError, match="queued, not paused"):
        hub.conductor.resume(run.name)
    run.set_state("finished", 1)
    for steer in (hub.conductor.stop, hub.conductor.pause):
        with pytest.raises(UserError, match="is finished"):
            steer(run.name)


def test_start_of_a_run_is_in_the_audit_log_with_person_and_settings(hub, start):
    start(rounds=3, seed=5)
    (line,) = [
        e
        for e in map(json.loads, (hub.settings.state_dir / "audit.jsonl").read_text().splitlines())
        if e["event"] == "run_started"
    ]
    assert line["by"] == "somebody" and line["settings"]["rounds"] == 3 and line["settings"]["seed"] == 5


# -- standing -----------------------------------------------------------------------------------------------------------
def test_only_the_suspended_clinic_is_told_why(hub):
    key, other = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    for name, its in (("anna", key), ("bert", other)):
        hub.membership.enrol(enrolment(name, hub.membership.invite(name).secret, key=its))
    hub.membership.suspend("anna", "three wild answers", by="the gate")
    told = hub.membership.status(ask_status(key, "anna"))
    assert (told.state, told.reason) == ("suspended", "three wild answers") and told.refused is None
    assert abs(told.time - time.time()) < 60
    assert hub.membership.status(ask_status(other, "bert")).state == "enrolled"
    for question in (
        ask_status(other, "anna"),
        ask_status(key, "nobody"),
        ask_status(key, "anna", signed_name="bert"),
        ask_status(key, "anna").model_copy(update={"proof": "zz"}),
        ask_status(key, "anna").model_copy(update={"asked": 2.5}),
    ):
        with pytest.raises(EnrolmentRejected):
            hub.membership.status(question)


def test_suspension_shuts_only_that_clinic_out_of_the_weights(hub):
    for name in ("anna", "bert"):
        hub.membership.enrol(enrolment(name, hub.membership.invite(name).secret))
    urls = {n: hub.urls.sign("GET", "/v1/model/run-0001/round-0000.safetensors", n, 60) for n in ("anna", "bert")}
    hub.membership.suspend("anna", "because", by="me")
    with pytest.raises(BadUrl):
        hub.urls.check("GET", urls["anna"])
    hub.urls.check("GET", urls["bert"])
    assert set(hub.store.keys()) == {"anna", "bert"}  # it stays connected: a key taken away could not come back
    assert status(hub, hub.overview.now())["clinics"]["anna"]["state"] == "suspended"
    hub.membership.reinstate("anna", by="me")
    hub.urls.check("GET", urls["anna"])
    events = [json.loads(x)["event"] for x in (hub.settings.state_dir / "audit.jsonl").read_text().splitlines()]
    assert events[-2:] == ["suspended", "resumed"]


@pytest.fixture
def api(hub):
    return TestClient(create_app(hub))  # without its life span: no conductor, no SuperLink


CONTROL = [
    ("GET", "/control/status"),
    ("GET", "/control/runs"),
    ("POST", "/control/runs"),
    ("POST", "/control/stop"),
    ("POST", "/control/invites"),
    ("POST", "/control/pause"),
    ("POST", "/control/continue"),
    ("POST", "/control/suspend"),
    ("POST", "/control/resume"),
]


@pytest.mark.parametrize(("method", "path"), CONTROL)
@pytest.mark.parametrize("token", [None, "", "Bearer ", "Bearer x", "Bearer é", "Basic eDp4"])
def test_control_api_is_closed_without_its_token(api, hub, method, path, token):
    headers = {} if token is None else {"Authorization": token.encode()}
    assert api.request(method, path, json={"name": "anna"}, headers=headers).status_code == 401
    assert hub.store.clinics() == {} and hub.runs.all() == []


def test_control_api_is_open_with_its_token(api, hub):
    headers = {"Authorization": f"Bearer {hub.identity.control_token}"}
    assert api.get("/control/status", headers=headers).json()["clinics"] == {}
    answer = api.post("/control/invites", json={"name": "A B"}, headers=headers)
    assert answer.status_code == 400 and "name" in answer.json()["error"]
    for path, words in (("stop", "stop"), ("pause", "pause"), ("continue", "resume")):
        assert words in api.post(f"/control/{path}", headers=headers).json()["error"]
    for path in ("suspend", "resume"):
        assert "nobody" in api.post(f"/control/{path}", json={"name": "nobody"}, headers=headers).json()["error"]


def test_api_has_no_description_pages(api):
    assert {api.get(p).status_code for p in ("/docs", "/redoc", "/openapi.json")} == {404}


def test_only_the_signed_download_url_is_authorised(api, hub):
    hub.membership.enrol(enrolment("anna", hub.membership.invite("anna").secret))
    url = hub.urls.sign("GET", "/v1/model/run-0001/round-0000.safetensors", "anna", 60)
    ask = lambda uri: api.get("/internal/authorise", headers={"X-Forwarded-Uri": uri}).status_code  # noqa: E731
    assert ask(url) == 204
    assert {
        ask(u) for u in (url.replace("0000", "0001"), url[:-1], "", "//[", hub.urls.sign("PUT", "/v1/x", "anna", 60))
    } == {403}
    assert api.get("/internal/authorise").status_code == 403


def test_upload_needs_a_signed_url_and_its_exact_size(api, hub):
    hub.membership.enrol(enrolment("anna", hub.membership.invite("anna").secret))
    path = hub.uploads.expect("run-0001", 1, "anna", 100)
    url = hub.urls.sign("PUT", path, "anna", 60)
    assert api.put(path, content=b"x" * 100).status_code == 403
    assert api.put(url, content=b"x" * 99).status_code == 413
    assert api.put(url, content=iter([b"x" * 100])).status_code == 413  # chunked: no length announced
    assert api.put(url, content=b"x" * 100).status_code == 201
    hub.uploads.forget([path])
    assert api.put(url, content=b"x" * 100).status_code == 410


def test_rejected_enrolment_is_recorded_with_its_reason(api, hub):
    answer = api.post("/v1/enrol", json=enrolment("anna", "x" * 32).model_dump())
    assert answer.status_code == 403 and "invite" in answer.json()["error"]
    assert "enrolment_refused" in (hub.settings.state_dir / "audit.jsonl").read_text()


def test_only_the_address_that_guesses_at_invites_is_slowed_down(hub, api):
    hub.membership.invite("anna")
    body = enrolment("anna", "x" * 32).model_dump()

    def ask(address):
        return api.post("/v1/enrol", json=body, headers={"X-Forwarded-For": address}).status_code

    assert [ask("203.0.113.9") for _ in range(22)] == [403] * 20 + [503] * 2
    assert ask("198.51.100.7") == 403


def test_strangers_status_requests_are_rate_limited(hub, api):
    key = ec.generate_private_key(ec.SECP384R1())
    hub.membership.enrol(enrolment("anna", hub.membership.invite("anna").secret, key=key))
    good, bad = (ask_status(key, n).model_dump() for n in ("anna", "nobody"))

    def ask(body, address):
        return api.post("/v1/standing", json=body, headers={"X-Forwarded-For": address}).status_code

    assert [ask(good, "198.51.100.7") for _ in range(30)] == [200] * 30
    assert [ask(bad, "203.0.113.9") for _ in range(22)] == [403] * 20 + [503] * 2
    assert ask(good, "198.51.100.7") == 200


def test_only_the_last_addresses_are_remembered():
    failures = RecentFailures()
    for number in range(failures.ADDRESSES + 100):
        failures.count(str(number))
    assert len(failures) == failures.ADDRESSES
