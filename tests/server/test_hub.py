"""The hub without its SuperLink: enrolment, starting runs, and the API's guards."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi.testclient import TestClient

from embryofl.errors import UserError
from embryofl.messages import Enrolment, proof_text
from embryofl_server.api import RecentFailures, create_app
from embryofl_server.hub import HubService
from embryofl_server.settings import HubSettings
from embryofl_server.store import Refused


@pytest.fixture
def hub(tmp_path):
    found = HubService(HubSettings(state_dir=tmp_path / "hub", superlink_address="127.0.0.1:9"))
    yield found
    found.store.close()


def openssh(key) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def enrolment(name: str, secret: str, key=None, signer=None, **changes) -> Enrolment:
    key = key or ec.generate_private_key(ec.SECP384R1())
    proof = (signer or key).sign(proof_text(name, secret, openssh(key)), ec.ECDSA(SHA256())).hex()
    body = {"name": name, "secret": secret, "public_key": openssh(key), "proof": proof, "summary": {}}
    return Enrolment.model_validate(body | changes)


def test_an_invited_clinic_with_a_key_of_its_own_joins(hub):
    secret = hub.invite("anna").secret
    assert hub.enrol(enrolment("anna", secret)) == {"name": "anna", "state": "enrolled"}


def test_a_key_without_its_private_half_does_not(hub):
    secret, stranger = hub.invite("anna").secret, ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(Refused, match="proof"):
        hub.enrol(enrolment("anna", secret, signer=stranger))
    for proof in ("", "zz", "00" * 50):
        with pytest.raises(Refused, match="proof"):
            hub.enrol(enrolment("anna", secret, proof=proof))
    assert hub.store.clinics() == {}


def test_a_proof_made_for_one_invite_is_not_good_for_another(hub):
    first, second = hub.invite("anna").secret, hub.invite("bert").secret
    made = enrolment("anna", first)
    for change in ({"name": "bert", "secret": second}, {"secret": second}, {"name": "bert"}):
        with pytest.raises(Refused):
            hub.enrol(made.model_copy(update=change))


def test_other_kinds_of_key_are_refused(hub):
    secret = hub.invite("anna").secret
    key = ed25519.Ed25519PrivateKey.generate()
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    proof = key.sign(proof_text("anna", secret, line)).hex()
    for public in (line, "ssh-rsa AAAA", "rubbish", ""):
        with pytest.raises(Refused):
            hub.enrol(Enrolment(name="anna", secret=secret, public_key=public, proof=proof))


@pytest.mark.parametrize("name", ["", "Anna", "pooled", "../x", "a_b", "-a", "a" * 41, "a\n"])
def test_a_name_that_cannot_be_one_is_refused(hub, name):
    with pytest.raises(UserError, match="name"):
        hub.invite(name)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": "resnet999"}, ["resnet999", "small_cnn", "resnet18"]),
        ({"strategy": "fedmagic"}, ["fedmagic", "fedavg"]),
        ({"ronuds": 3}, ["ronuds", "rounds"]),
        ({"pretrained": "/nowhere.safetensors"}, ["/nowhere.safetensors"]),
    ],
)
def test_a_run_that_cannot_be_is_refused_in_words_and_leaves_nothing(hub, values, words):
    with pytest.raises(UserError) as caught:
        hub.start_run(values)
    assert all(w in str(caught.value) for w in words)
    assert hub.runs.all() == [] and list((hub.settings.state_dir / "runs").iterdir()) == []


def test_initial_weights_that_are_none_are_refused(hub, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"hello")
    for path in (tmp_path / "x.safetensors", tmp_path / "missing", tmp_path):
        with pytest.raises(UserError, match="cannot be used"):
            hub.start_run({}, str(path))
    assert hub.runs.all() == []


def test_one_run_at_a_time(hub, tmp_path, packed):
    packed(0).tofile(tmp_path / "x.safetensors")
    run = hub.start_run({"rounds": 3}, str(tmp_path / "x.safetensors"))
    assert run.state["state"] == "queued"
    with pytest.raises(UserError, match="run-0001"):
        hub.start_run({}, str(tmp_path / "x.safetensors"))
    stored = np.fromfile(hub.settings.weights / run.name / "round-0000.safetensors", np.uint8)
    assert stored.tobytes() == packed(0).tobytes()


@pytest.fixture
def api(hub):
    return TestClient(create_app(hub))  # without its life span: no conductor, no SuperLink


CONTROL = [("GET", "/control/status"), ("GET", "/control/runs"), ("POST", "/control/runs"), ("POST", "/control/stop"),
           ("POST", "/control/invites")]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), CONTROL)
@pytest.mark.parametrize("token", [None, "", "Bearer ", "Bearer x", "Bearer é", "Basic eDp4"])
def test_the_control_api_is_shut_without_its_token(api, hub, method, path, token):
    headers = {} if token is None else {"Authorization": token.encode()}
    assert api.request(method, path, json={"name": "anna"}, headers=headers).status_code == 401
    assert hub.store.clinics() == {} and hub.runs.all() == []


def test_and_open_with_it(api, hub):
    headers = {"Authorization": f"Bearer {hub.identity.control_token}"}
    assert api.get("/control/status", headers=headers).json()["clinics"] == {}
    answer = api.post("/control/invites", json={"name": "A B"}, headers=headers)
    assert answer.status_code == 400 and "name" in answer.json()["error"]


def test_no_page_describes_the_api(api):
    assert {api.get(p).status_code for p in ("/docs", "/redoc", "/openapi.json")} == {404}


def test_a_download_is_authorised_for_the_signed_url_only(api, hub):
    hub.enrol(enrolment("anna", hub.invite("anna").secret))
    url = hub.urls.sign("GET", "/v1/model/run-0001/round-0000.safetensors", "anna", 60)
    ask = lambda uri: api.get("/internal/authorise", headers={"X-Forwarded-Uri": uri}).status_code  # noqa: E731
    assert ask(url) == 204
    assert {
        ask(u) for u in (url.replace("0000", "0001"), url[:-1], "", "//[", hub.urls.sign("PUT", "/v1/x", "anna", 60))
    } == {403}
    assert api.get("/internal/authorise").status_code == 403


def test_an_upload_needs_a_signed_url_and_its_exact_size(api, hub):
    hub.enrol(enrolment("anna", hub.invite("anna").secret))
    path = hub.uploads.expect("run-0001", 1, "anna", 100)
    url = hub.urls.sign("PUT", path, "anna", 60)
    assert api.put(path, content=b"x" * 100).status_code == 403
    assert api.put(url, content=b"x" * 99).status_code == 413
    assert api.put(url, content=iter([b"x" * 100])).status_code == 413  # chunked: no length announced
    assert api.put(url, content=b"x" * 100).status_code == 201
    hub.uploads.forget([path])
    assert api.put(url, content=b"x" * 100).status_code == 410


def test_a_refused_enrolment_is_recorded_and_says_why(api, hub):
    answer = api.post("/v1/enrol", json=enrolment("anna", "x" * 32).model_dump())
    assert answer.status_code == 403 and "invite" in answer.json()["error"]
    assert "enrolment_refused" in (hub.settings.state_dir / "audit.jsonl").read_text()


def test_whoever_guesses_at_invites_is_slowed_down_and_nobody_else(hub, api):
    hub.invite("anna")
    body = enrolment("anna", "x" * 32).model_dump()

    def ask(address):
        return api.post("/v1/enrol", json=body, headers={"X-Forwarded-For": address}).status_code

    assert [ask("203.0.113.9") for _ in range(22)] == [403] * 20 + [503] * 2
    assert ask("198.51.100.7") == 403


def test_a_flood_of_addresses_is_not_remembered_without_end():
    failures = RecentFailures()
    for number in range(failures.ADDRESSES + 100):
        failures.count(str(number))
    assert len(failures._times) == failures.ADDRESSES
