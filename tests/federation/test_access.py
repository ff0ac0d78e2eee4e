"""Access control: no connection without an enrolled key, and clinics reach only their own paths."""

import secrets
import select
import socket
import ssl
import threading
import time

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from embryofl.errors import UserError
from embryofl.files import write_atomic
from embryofl.invite import HUB_NAME, Invite
from embryofl_clinic.joining.enrol import enrol
from embryofl_clinic.joining.identity import ClinicIdentity
from embryofl_clinic.joining.route import HubContext
from embryofl_clinic.link.fleet_link import FleetLink, KeyRejected
from embryofl_server.api.deps import BODY_S, OF_ADDRESS
from embryofl_server.federation.blobs import SignedUrls
from kits.enrolment import SUMMARY
from kits.federation import route_to, until
from kits.gateway import SHUT, connect, raw, status


@pytest.fixture
def certificate(federation):
    """That of clinic-1."""
    return federation.identity("clinic-1").certificate()


@pytest.fixture
def gateway(federation, certificate):
    """An HTTP client of the hub, as clinic-1 has one."""
    context = HubContext.of(federation.ca.read_text(), HUB_NAME, certificate)
    with httpx.Client(base_url=f"https://localhost:{federation.port}", verify=context, timeout=60) as client:
        yield client


@pytest.fixture
def urls(federation):
    """Signs URLs as the hub does."""
    key = (federation.place.hub / "identity" / "url.key").read_bytes()
    return SignedUrls(key, lambda name: True)


def link_of(federation, key, folder) -> FleetLink:
    folder.mkdir(exist_ok=True)
    return FleetLink(route_to(federation.port, federation.ca, key), key, folder, threading.Event())


# -- keys ---------------------------------------------------------------------------------------------------------------
def test_unenrolled_key_cannot_connect(federation, tmp_path):
    link = link_of(federation, ec.generate_private_key(ec.SECP384R1()), tmp_path / "state")
    with pytest.raises(KeyRejected):
        link.connect()
    link.close()


@pytest.mark.parametrize("whose", ["a stranger's", "another clinic's"])
def test_key_gets_no_messages_of_another_clinic(federation, tmp_path, whose):
    from flwr.proto.fleet_pb2 import DeactivateNodeRequest, PullMessagesRequest
    from flwr.proto.node_pb2 import Node

    key = ec.generate_private_key(ec.SECP384R1())
    if whose == "another clinic's":
        key = federation.identity("clinic-2").key
    file = federation.place.clinic("clinic-1") / "node_id"
    victim = int(until("clinic-1 has connected", lambda: file.exists() and file.read_text()))
    link = link_of(federation, key, tmp_path / "state")
    try:
        for call, request in (
            (link.client.PullMessages, PullMessagesRequest(node=Node(node_id=victim))),
            (link.client.DeactivateNode, DeactivateNodeRequest(node_id=victim)),
        ):
            with pytest.raises(httpx.HTTPStatusError) as caught:
                call(request)
            assert caught.value.response.status_code == (401 if whose == "another clinic's" else 404)
    finally:
        link.client.close()


def test_no_key_can_be_registered_through_the_gateway(federation, tmp_path):
    from flwr.proto.fleet_pb2 import RegisterNodeFleetRequest

    key = ec.generate_private_key(ec.SECP384R1())
    link = link_of(federation, key, tmp_path / "state")
    try:
        with pytest.raises(httpx.HTTPStatusError) as caught:
            link.client.RegisterNode(RegisterNodeFleetRequest(public_key=link.public_key))
        assert 400 <= caught.value.response.status_code < 500
        with pytest.raises(KeyRejected):
            link.connect()
    finally:
        link.close()


# -- the SuperLink ------------------------------------------------------------------------------------------------------
@pytest.fixture
def superlink(federation):
    """An HTTP client of the SuperLink's own port, as any user of the hub's machine can have it."""
    url = f"https://127.0.0.1:{federation.stack.ports['superlink']}"
    with httpx.Client(base_url=url, verify=False, timeout=60) as client:
        yield client


def test_superlink_obeys_only_the_server(federation, superlink):
    from flwr.proto.control_pb2 import ListNodesRequest, RegisterNodeRequest

    key = (
        ec.generate_private_key(ec.SECP384R1())
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    headers = {"Content-Type": "application/protobuf"}
    requests = {
        "/v1/control/register-node": RegisterNodeRequest(public_key=key, name="clinic-9").SerializeToString(),
        "/v1/control/list-nodes": ListNodesRequest().SerializeToString(),
        "/v1/runtime/acquire-task": b"",
    }
    for path, body in requests.items():
        assert superlink.post(path, content=body, headers=headers).status_code == 404, path
    assert {superlink.get(path).status_code for path in ("/docs", "/openapi.json")} == {404}


def test_strangers_megabytes_are_refused_by_their_headers(federation):
    """Only the beginning of the body is sent, so that the SuperLink cannot have waited for its end."""
    context = ssl.create_default_context(cafile=str(federation.place.hub / "identity" / "internal.crt"))
    head = "POST /v1/fleet/push-object HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/protobuf\r\n"
    with (
        socket.create_connection(("127.0.0.1", federation.stack.ports["superlink"]), timeout=60) as connection,
        context.wrap_socket(connection, server_hostname="superlink") as tls,
    ):
        tls.sendall(f"{head}Content-Length: 2000000\r\n\r\n".encode() + b"x" * 1000)
        assert status(tls.recv(65536)) == 401


@pytest.mark.slow
def test_round_goes_on_while_strangers_hold_hundreds_of_slow_connections(federation):
    paths = ("/v1/enrol", "/v1/fleet/push-object", "/v1/step/0a1b", "/v1/update/run-0001-x")
    slow: list[ssl.SSLSocket] = []
    try:
        began = time.monotonic()
        for number in range(300):
            path = paths[number // 75]
            method = "PUT" if "update" in path else "POST"
            connection = connect(federation.port, federation.ca)
            connection.sendall(
                f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\nx".encode()
            )
            slow.append(connection)
        places = OF_ADDRESS * (1 + (time.monotonic() - began) // BODY_S)  # the server gives up a body after that time
        joining, refused = slow[:75], 0
        while refused < 75 - places:  # the gateway passes an answer on when it gives up the rest of the body
            ready, _, _ = select.select(joining, [], [], 60)
            assert ready, f"{refused} of 75 requests to join were refused, expected {75 - places:g}"
            for connection in ready:
                joining.remove(connection)
                refused += status(connection.recv(65536)) == 503
        federation.run(rounds=1)  # raises unless it finishes
    finally:
        for connection in slow:
            connection.close()


def invite_for(federation, name: str, secret: str) -> Invite:
    return Invite(
        name=name,
        hubs=[f"localhost:{federation.port}"],
        ca=federation.ca.read_text(),
        server_name=HUB_NAME,
        secret=secret,
    )


@pytest.mark.parametrize("name", ["clinic-1", "nobody"])
def test_wrong_invite_secret_is_rejected(federation, tmp_path, name):
    identity = ClinicIdentity(tmp_path / "identity")
    with pytest.raises(UserError, match="does not recognise"):
        enrol(identity, invite_for(federation, name, secrets.token_urlsafe(24)), "quality", SUMMARY, threading.Event())
    assert identity.membership is None


def test_used_invite_is_worthless_to_another_key(federation, tmp_path):
    """A thief presents the invite of a clinic that has joined, with another key."""
    honest, thief = ClinicIdentity(tmp_path / "honest"), ClinicIdentity(tmp_path / "thief")
    invite = Invite.parse(federation.stack.call("POST", "/control/invites", {"name": "visitor"})["invite"])
    enrol(honest, invite, "quality", SUMMARY, threading.Event())
    with pytest.raises(UserError, match="another key"):
        enrol(thief, invite, "quality", SUMMARY, threading.Event())
    enrol(honest, invite, "quality", SUMMARY, threading.Event())  # its own clinic may ask again
    assert "visitor" in federation.status()["clinics"]


def test_clinic_sends_nothing_to_a_server_with_another_certificate(federation, tmp_path):
    """The server has the hub's address but another certificate: the clinic does not even send its secret."""
    from embryofl_server.members.identity import HubIdentity
    from embryofl_server.settings import HubSettings
    from embryofl_server.state.signer.authority import Authority

    HubIdentity(tmp_path / "other", Authority(HubSettings(state_dir=tmp_path / "other")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    place = tmp_path / "other" / "gateway"
    context.load_cert_chain(place / "gateway.crt", place / "gateway.key")
    received: list[bytes] = []
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            with server.accept()[0] as connection:
                try:
                    received.append(context.wrap_socket(connection, server_side=True).recv(1000))
                except OSError:
                    received.append(b"")
            stop.set()

        threading.Thread(target=listen, daemon=True).start()
        invite = invite_for(federation, "clinic-1", "s" * 32)
        invite = invite.model_copy(update={"hubs": [f"localhost:{server.getsockname()[1]}"]})
        with pytest.raises(UserError, match="Stopped"):
            enrol(ClinicIdentity(tmp_path / "identity"), invite, "quality", SUMMARY, stop)
    assert received == [b""]


# -- signed URLs --------------------------------------------------------------------------------------------------------
def test_signed_url_serves_its_file_and_any_altered_url_is_forbidden(federation, reference, gateway, urls):
    path = f"/v1/model/{reference.name}/round-0004.safetensors"
    url = urls.sign("GET", path, "clinic-1", 600)
    response = gateway.get(url)
    assert response.status_code == 200 and response.content == (reference / "model.safetensors").read_bytes()
    part = gateway.get(url, headers={"Range": "bytes=1000-"})
    assert part.status_code == 206 and part.content == response.content[1000:]
    expired = urls.sign("GET", path, "clinic-1", -60)
    stranger = urls.sign("GET", path, "nobody", 600)
    for changed in (
        path,
        url.replace("round-0004", "round-0000"),
        url.replace("clinic=clinic-1", "clinic=clinic-2"),
        url.replace("expires=", "expires=9"),
        url[:-1] + ("0" if url[-1] != "0" else "1"),
        urls.sign("PUT", path, "clinic-1", 600),
        expired,
        stranger,
    ):
        assert gateway.get(changed).status_code == 403, changed
    # headers sent by the clinic do not replace the URL
    lie = {"X-Forwarded-Uri": url, "X-Original-URL": url, "X-Forwarded-Method": "GET"}
    assert gateway.get(url.replace("round-0004", "round-0000"), headers=lie).status_code == 403


def test_validly_signed_url_serves_nothing_outside_the_models(federation, reference, urls, certificate):
    """Even if such a path were ever signed, the file server would not leave its folder."""
    for path in (
        "/v1/model/../identity/ca.key",
        "/v1/model/%2e%2e/identity/ca.key",
        "/v1/model/..%2fidentity%2fca.key",
        "/v1/model//etc/passwd",
        f"/v1/model/{reference.name}/",
    ):
        line = f"GET {urls.sign('GET', path, 'clinic-1', 600)} HTTP/1.1"
        response = raw(federation.port, federation.ca, line, certificate=certificate)
        assert status(response) in (400, 403, 404), (path, response[:200])
        assert b"PRIVATE KEY" not in response and b"root:" not in response and b"round-0000" not in response


def test_upload_url_ends_with_its_round(federation, reference, gateway):
    used = [target for method, target in federation.proxy.requests if method == "PUT"]
    assert len(used) >= 4
    size = (reference / "model.safetensors").stat().st_size
    for url in used[:4]:
        assert gateway.put(url, content=b"x" * size).status_code == 410
    assert gateway.put(used[0].replace("/v1/update/run", "/v1/update/fun"), content=b"x" * size).status_code == 403


# -- the gateway --------------------------------------------------------------------------------------------------------
def test_plain_http_is_rejected(federation):
    for path in ("/v1/enrol", "/v1/fleet/pull-messages", "/"):
        with pytest.raises((httpx.HTTPStatusError, httpx.TransportError)):
            httpx.post(f"http://localhost:{federation.port}{path}", timeout=60).raise_for_status()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_only_the_clinics_paths_are_reachable(federation, method, certificate):
    """Neither SuperLink's Control or Runtime API nor the server's control API can be reached.

    Allowed are the gateway's own 404 or 400, the signature check's 403, and, where the gateway forwards a path that begins
    and ends in the Fleet API, the Fleet API's own error for an unknown path.
    """
    for target in SHUT:
        body = b"{}" if method != "GET" else b""
        response = raw(federation.port, federation.ca, f"{method} {target} HTTP/1.1", body, certificate)
        allowed = (400, 401, 403, 404, 405, 415)  # 415 is the Fleet API's own
        assert status(response) in allowed, (method, target, response[:300])
        lowered = response.lower()
        for word in (b"swagger", b"openapi", b'"status":"ok"', b"control token", b"superexec", b"clinics", b"run_id"):
            assert word not in lowered, (method, target, response[:500])


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PATCH"])
def test_path_accepts_only_its_own_method(federation, method, certificate):
    for target in ("/v1/fleet/pull-messages", "/v1/enrol"):
        response = raw(federation.port, federation.ca, f"{method} {target} HTTP/1.1", certificate=certificate)
        assert status(response) in (400, 403, 404, 405, 501)


def test_oversized_body_is_rejected(federation, gateway):
    assert gateway.post("/v1/enrol", content=b"x" * 100_000).status_code == 413
    headers = {"Content-Type": "application/x-protobuf"}
    with gateway.stream("POST", "/v1/fleet/push-messages", content=b"x" * 3_000_000, headers=headers) as response:
        assert 400 <= response.status_code < 500  # it may close the connection before the text that goes with it


def test_control_api_requires_its_token(federation):
    """The token is required even on the hub's own network."""
    context = ssl.create_default_context(cafile=str(federation.place.hub / "identity" / "internal.crt"))
    base = f"https://{federation.stack.settings.server_address}"
    for method, path in (("GET", "/control/status"), ("POST", "/control/runs"), ("POST", "/control/stop")):
        for headers in ({}, {"Authorization": "Bearer " + "0" * 64}):
            response = httpx.request(method, base + path, headers=headers, json={}, verify=context, timeout=60)
            assert response.status_code == 401


def test_hub_still_works_after_all_attempts(federation):
    write_atomic(federation.place.root / "note", b"")  # the disk works, too
    until("the hub replies", lambda: federation.status()["clinics"])
