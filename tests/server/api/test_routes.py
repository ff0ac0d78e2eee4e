"""The guards of the API: control token, signed addresses, and the limit on rejected attempts."""

import asyncio
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from embryofl_server.api import deps
from embryofl_server.api.app import create_app
from embryofl_server.api.clinics import OF_STRANGERS
from embryofl_server.api.status import status
from embryofl_server.federation import mailboxes
from embryofl_server.federation.blobs import BadUrl
from embryofl_server.members.limits import REFUSALS, REMEMBERED, Limit, Rate
from kits.enrolment import ask_status, audit, enrolment, join, key_change_at, leaving
from kits.hubs import client_of, headers_of


def test_suspension_shuts_only_that_clinic_out_of_the_weights(hub):
    for name in ("anna", "bert"):
        join(hub, name)
    urls = {n: hub.urls.sign("GET", "/v1/model/run-0001/round-0000.safetensors", n, 60) for n in ("anna", "bert")}
    hub.membership.suspend("anna", "because", by="me")
    with pytest.raises(BadUrl):
        hub.urls.check("GET", urls["anna"])
    hub.urls.check("GET", urls["bert"])
    assert set(hub.store.keys()) == {
        "anna",
        "bert",
    }  # it stays connected, because a removed key can never be used again
    assert status(hub, hub.overview.now())["clinics"]["anna"]["state"] == "suspended"
    hub.membership.reinstate("anna", by="me")
    hub.urls.check("GET", urls["anna"])
    events = [json.loads(x)["event"] for x in (hub.settings.state_dir / "audit.jsonl").read_text().splitlines()]
    assert events[-2:] == ["suspended", "resumed"]


@pytest.fixture
def api(hub):
    return client_of(hub)


def test_control_api_is_open_with_its_token(api, hub):
    headers = headers_of(hub)
    assert api.get("/control/status", headers=headers).json()["clinics"] == {}
    response = api.post("/control/invites", json={"name": "A B"}, headers=headers)
    assert response.status_code == 400 and "name" in response.json()["error"]
    for path, words in (("stop", "stop"), ("pause", "pause"), ("continue", "resume")):
        assert words in api.post(f"/control/{path}", headers=headers).json()["error"]
    for path in ("suspend", "resume"):
        assert "nobody" in api.post(f"/control/{path}", json={"name": "nobody"}, headers=headers).json()["error"]


def test_api_has_no_description_pages(api):
    assert {api.get(p).status_code for p in ("/docs", "/redoc", "/openapi.json")} == {404}


def test_only_the_signed_download_url_is_authorised(api, hub):
    join(hub, "anna")
    url = hub.urls.sign("GET", "/v1/model/run-0001/round-0000.safetensors", "anna", 60)
    ask = lambda uri: api.get("/internal/authorise", headers={"X-Forwarded-Uri": uri}).status_code  # noqa: E731
    assert ask(url) == 204
    assert {
        ask(u) for u in (url.replace("0000", "0001"), url[:-1], "", "//[", hub.urls.sign("PUT", "/v1/x", "anna", 60))
    } == {403}
    assert api.get("/internal/authorise").status_code == 403


def test_upload_needs_a_signed_url_and_its_exact_size(api, hub):
    join(hub, "anna")
    path = hub.uploads.expect("run-0001", 1, "anna", 100)
    url = hub.urls.sign("PUT", path, "anna", 60)
    assert api.put(path, content=b"x" * 100).status_code == 403
    assert api.put(url, content=b"x" * 99).status_code == 413
    assert api.put(url, content=iter([b"x" * 100])).status_code == 413  # chunked: no length announced
    assert api.put(url, content=b"x" * 100).status_code == 201
    hub.uploads.forget([path])
    assert api.put(url, content=b"x" * 100).status_code == 410


def test_steps_of_a_masked_round_need_a_signed_url_of_a_clinic_that_takes_part(api, hub, monkeypatch):
    monkeypatch.setattr(mailboxes, "WAIT_S", 0.01)
    join(hub, "anna")
    path = hub.mailboxes.open("anna")
    url = hub.urls.sign("POST", path, "anna", 60)
    assert api.post(path, json={}).status_code == 403
    assert api.post(path, content=b"what a stranger sends is not read").status_code == 403
    assert api.post(url, json={"number": -1}).status_code == 422
    assert api.post(url, json={}).status_code == 204
    hub.mailboxes.send("anna", "letters", told=True)
    assert api.post(url, json={}).json() == {"number": 1, "text": "letters", "error": ""}
    hub.membership.suspend("anna", "because", by="me")
    assert api.post(url, json={}).status_code == 403
    hub.membership.reinstate("anna", by="me")
    hub.mailboxes.close()
    assert api.post(url, json={}).status_code == 410


def test_rejected_enrolment_is_recorded_with_its_reason(api, hub):
    response = api.post("/v1/enrol", json=enrolment("anna", "x" * 32).model_dump())
    assert response.status_code == 403 and "invite" in response.json()["error"]
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
    join(hub, "anna", key=key)
    good, bad = (ask_status(key, n).model_dump() for n in ("anna", "nobody"))

    def ask(body, address):
        return api.post("/v1/standing", json=body, headers={"X-Forwarded-For": address}).status_code

    assert [ask(good, "198.51.100.7") for _ in range(30)] == [200] * 30
    assert [ask(bad, "203.0.113.9") for _ in range(22)] == [403] * 20 + [503] * 2
    assert ask(good, "198.51.100.7") == 200


def test_strangers_behind_the_same_address_do_not_shut_members_out(hub, api):
    key, new = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    join(hub, "anna", key)
    behind = {"X-Forwarded-For": "203.0.113.9"}

    def ask(path, body):
        return api.post(path, json=body.model_dump(), headers=behind).status_code

    for path, bad in (("/v1/standing", ask_status(new, "anna")), ("/v1/enrol", enrolment("bert", "x" * 32))):
        assert [ask(path, bad) for _ in range(21)] == [403] * 20 + [503]
    assert ask("/v1/enrol", enrolment("bert", hub.membership.invite("bert").secret)) == 200
    assert ask("/v1/standing", ask_status(key, "anna")) == 200
    assert ask("/v1/key", key_change_at(hub, key, new)) == 200
    assert ask("/v1/leave", leaving(new, "anna")) == 200
    assert {n: c.state for n, c in hub.store.clinics().items()} == {"anna": "left", "bert": "enrolled"}


@pytest.mark.parametrize("path", sorted(OF_STRANGERS))
def test_body_of_a_stranger_that_never_ends_is_answered(hub, monkeypatch, path):
    monkeypatch.setattr(deps, "BODY_S", 0.05)
    scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"content-type", b"application/json")]}
    sent, parts = [], [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive():
        return parts.pop() if parts else await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    async def ask():
        async with asyncio.timeout(60):
            await create_app(hub)({**scope, "query_string": b""}, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 400


def test_strangers_that_send_slowly_do_not_keep_others_from_joining(hub):
    """A hundred requests whose bodies never end, from one address: most are answered at once, by their headers."""
    app = create_app(hub)

    def start(address, body=b""):
        headers = [(b"content-type", b"application/json"), (b"x-forwarded-for", address)]
        scope = {"type": "http", "method": "POST", "path": "/v1/enrol", "query_string": b"", "headers": headers}
        answered = asyncio.get_running_loop().create_future()

        async def receive():
            return {"type": "http.request", "body": body} if body else await asyncio.Event().wait()

        async def send(message):
            if message["type"] == "http.response.start":
                answered.set_result(message["status"])

        return answered, asyncio.create_task(app(scope, receive, send))

    async def attack():
        slow = [start(b"203.0.113.9") for _ in range(100)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # each has been asked by now
        at_once = [answered.result() for answered, _ in slow if answered.done()]
        body = enrolment("anna", hub.membership.invite("anna").secret).model_dump_json().encode()
        async with asyncio.timeout(60):
            elsewhere = await start(b"198.51.100.7", body)[0]
        for _, task in slow:
            task.cancel()
        await asyncio.gather(*(task for _, task in slow), return_exceptions=True)
        body = enrolment("bert", hub.membership.invite("bert").secret).model_dump_json().encode()
        async with asyncio.timeout(60):
            return at_once, elsewhere, await start(b"203.0.113.9", body)[0]

    at_once, elsewhere, afterwards = asyncio.run(attack())
    assert (at_once, elsewhere, afterwards) == ([503] * (100 - deps.OF_ADDRESS), 200, 200)


def test_guesses_at_invites_do_not_fill_the_audit_log(hub, api):
    def guess(number):
        body = enrolment("anna", f"{number:032}").model_dump()
        return api.post("/v1/enrol", json=body, headers={"X-Forwarded-For": f"203.0.113.{number}"}).status_code

    assert {guess(number) for number in range(REFUSALS.most + 20)} == {403}
    assert len(audit(hub, "enrolment_refused")) == REFUSALS.most


def test_only_the_last_addresses_are_remembered():
    failures = Limit(Rate(20, 60))
    for number in range(REMEMBERED + 100):
        failures.count(str(number))
    assert len(failures) == REMEMBERED
