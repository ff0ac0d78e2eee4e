"""The gateway alone, in front of stand-ins for SuperLink and server that record every request that reaches them."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from embryofl.clinic_keys import certificate, gateway_digest, openssh
from embryofl.invite import HUB_NAME
from embryofl_demo.stack import CADDYFILE, port_is_free, program
from embryofl_server.members.identity import HubIdentity
from embryofl_server.settings import HubSettings
from embryofl_server.state.signer.authority import Authority
from kits.federation import WAIT_S, until
from kits.gateway import SHUT, connect, raw, status
from kits.ports import free_port


class Upstream:
    """A TLS server that accepts every request and records it."""

    def __init__(self, certificate: str, key: str) -> None:
        self.seen: list[tuple[str, str, dict[str, str]]] = []  # method, unmodified target, headers
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _yes(self) -> None:
                method, target, _ = self.requestline.split(" ")
                upstream.seen.append((method, target, {k.lower(): v for k, v in self.headers.items()}))
                if "unfinished" not in target:  # that the server answers without its body
                    self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(200)
                self.send_header("Content-Length", "7")
                self.end_headers()
                self.wfile.write(b"REACHED")

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = _yes

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Gateway:
    """Caddy with the project's own configuration, and the certificate of a clinic that it lets through."""

    def __init__(self, folder: Any) -> None:
        identity = HubIdentity(folder / "identity", Authority(HubSettings(state_dir=folder)))
        self.ca, self.port = folder / "identity" / "ca.crt", free_port()
        self.server = Upstream(*map(str, identity.certificate))
        place = identity.superlink
        self.superlink = Upstream(str(place / "superlink.crt"), str(place / "superlink.key"))
        key = ec.generate_private_key(ec.SECP384R1())
        self.certificate, self.clinics = certificate(key), identity.gateway / "clinics"
        self.clinics.mkdir()
        self.known, self.member = (self.clinics / f"{gateway_digest(openssh(key))}.{w}" for w in ("known", "member"))
        self.known.touch()
        self.member.touch()
        weights = folder / "weights" / "run-0001"
        weights.mkdir(parents=True)
        (weights / "round-0001.safetensors").write_bytes(b"WEIGHTS")
        (folder / "outside").write_bytes(b"OUTSIDE")
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", str(CADDYFILE.with_name("gateway.sh")), str(CADDYFILE)],
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "PATH": f"{Path(program('caddy')).parent}:{os.environ['PATH']}",
                    "EMBRYOFL_GATEWAY_DIR": str(identity.gateway),
                    "EMBRYOFL_GATEWAY_PORT": str(self.port),
                    "EMBRYOFL_GATEWAY_BIND": "127.0.0.1",
                    "EMBRYOFL_SUPERLINK_ADDRESS": self.superlink.address,
                    "EMBRYOFL_SERVER_ADDRESS": self.server.address,
                    "EMBRYOFL_WEIGHTS_DIR": str(folder / "weights"),
                    "XDG_DATA_HOME": str(folder),
                    "XDG_CONFIG_HOME": str(folder),
                },
            )
        until("the gateway listens", lambda: not port_is_free(self.port))

    def forget(self) -> None:
        """Clear the upstreams' records."""
        self.server.seen.clear()
        self.superlink.seen.clear()

    def ask(self, line: str, body: bytes = b"") -> bytes:
        self.forget()
        return raw(self.port, self.ca, f"{line} HTTP/1.1", body, self.certificate)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self.server.close()
        self.superlink.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, _environment: None) -> Iterator[Gateway]:
    started = Gateway(tmp_path_factory.mktemp("gateway"))
    yield started
    started.close()


HEAD = b"POST /v1/enrol?unfinished HTTP/1.1\r\nHost: localhost\r\n"
UNFINISHED = {
    "the headers of a stranger": HEAD,
    "the body of a stranger that joins": HEAD + b"Content-Length: 60000\r\n\r\nx",
    "the body of a stranger on a clinic's path": HEAD.replace(b"enrol", b"step/0a1b")
    + b"Content-Length: 60000\r\n\r\nx",
}


@pytest.fixture(scope="module", autouse=True)
def unfinished(gateway: Gateway) -> Iterator[dict[str, Future[float]]]:
    """Unfinished requests, sent before the other tests; give the seconds until the gateway closed their connections."""

    def seconds(request: bytes) -> float:
        began = time.monotonic()
        exchange(gateway, request, seconds=100)
        return time.monotonic() - began

    with ThreadPoolExecutor(len(UNFINISHED)) as pool:
        closed = {what: pool.submit(seconds, request) for what, request in UNFINISHED.items()}
        until("a body has begun", lambda: any("unfinished" in target for _, target, _ in gateway.server.seen))
        yield closed


def test_clinics_paths_reach_superlink_and_server(gateway):
    assert b"REACHED" in gateway.ask("POST /v1/fleet/pull-messages", b"x")
    assert [s[:2] for s in gateway.superlink.seen] == [("POST", "/v1/fleet/pull-messages")] and not gateway.server.seen
    assert b"REACHED" in gateway.ask("POST /v1/enrol", b"{}")
    assert [s[:2] for s in gateway.server.seen] == [("POST", "/v1/enrol")] and not gateway.superlink.seen
    assert b"REACHED" in gateway.ask("PUT /v1/update/run-0001-abc?signature=1", b"x")
    assert [s[:2] for s in gateway.server.seen] == [("PUT", "/v1/update/run-0001-abc?signature=1")]
    assert b"REACHED" in gateway.ask("POST /v1/step/0a1b?signature=1", b"{}")
    assert [s[:2] for s in gateway.server.seen] == [("POST", "/v1/step/0a1b?signature=1")]
    response = gateway.ask("GET /v1/model/run-0001/round-0001.safetensors?signature=1")
    assert response.endswith(b"WEIGHTS")
    method, target, headers = gateway.server.seen[0]
    assert (method, target) == ("GET", "/internal/authorise?signature=1")
    assert headers["x-forwarded-uri"] == "/v1/model/run-0001/round-0001.safetensors?signature=1"


OF_MEMBERS = [
    ("POST", "/v1/fleet/pull-messages"),
    ("PUT", "/v1/update/run-0001-abc?signature=1"),
    ("POST", "/v1/step/0a1b?signature=1"),
    ("GET", "/v1/model/run-0001/round-0001.safetensors?signature=1"),
]
OF_KNOWN = [("POST", "/v1/standing"), ("POST", "/v1/leave"), ("POST", "/v1/key")]


@pytest.mark.parametrize("shown", ["nothing", "a certificate of another key"])
def test_stranger_reaches_nothing_but_enrolment(gateway, shown):
    other = certificate(ec.generate_private_key(ec.SECP384R1())) if shown != "nothing" else ""
    gateway.forget()
    for method, target in OF_MEMBERS + OF_KNOWN:
        body = b"" if method == "GET" else b"{}"
        response = raw(gateway.port, gateway.ca, f"{method} {target} HTTP/1.1", body, other)
        assert status(response) == 404, (target, response)
    assert not gateway.server.seen and not gateway.superlink.seen
    assert b"REACHED" in raw(gateway.port, gateway.ca, "POST /v1/enrol HTTP/1.1", b"{}", other)


def test_revoked_clinic_is_turned_away_on_its_open_connection_and_may_ask_how_it_stands(gateway):
    with connect(gateway.port, gateway.ca, gateway.certificate) as tls:

        def ask(path: str) -> int:
            tls.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
            response = HTTPResponse(tls)
            response.begin()
            response.read()
            return response.status

        assert ask("/v1/fleet/pull-messages") == 200
        gateway.member.unlink()
        try:
            assert ask("/v1/standing") == 200
            assert ask("/v1/fleet/pull-messages") == 404
        finally:
            gateway.member.touch()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS"])
def test_no_other_path_reaches_them_in_any_spelling(gateway, method):
    for target in SHUT:
        response = gateway.ask(f"{method} {target}", b"" if method in ("GET", "HEAD") else b"{}")
        for _, reached, _ in gateway.superlink.seen:
            assert _segments(reached)[:2] == ["v1", "fleet"], (target, reached)
        for _, reached, headers in gateway.server.seen:
            asked = headers["x-forwarded-uri"] if reached.split("?")[0] == "/internal/authorise" else reached
            assert _segments(asked)[:2] in (["v1", "enrol"], ["v1", "update"], ["v1", "model"]), (target, reached)
        assert b"OUTSIDE" not in response
        if not gateway.superlink.seen and not gateway.server.seen:
            assert status(response) in (400, 403, 404, 405, 501), (target, response[:200])


def _segments(target: str) -> list[str]:
    """A path's segments after all decoding, with `..` resolved."""
    path = target.split("?")[0]
    if "://" in path:
        path = "/" + path.split("://", 1)[1].partition("/")[2]
    while unquote(path) != path:
        path = unquote(path)
    segments: list[str] = []
    for part in path.replace("\\", "/").split("/"):
        if part == "..":
            del segments[-1:]
        elif part not in ("", "."):
            segments.append(part)
    return segments


def test_clinic_cannot_forge_the_gateways_headers(gateway):
    """The signature check relies on headers that the gateway sets itself, whatever a clinic sends."""
    head = "GET /v1/model/run-0001/round-0001.safetensors?mine HTTP/1.1\r\nX-Forwarded-Uri: /v1/model/other?signed"
    gateway.server.seen.clear()
    raw(gateway.port, gateway.ca, head + "\r\nX-Forwarded-Method: PUT", certificate=gateway.certificate)
    _, _, headers = gateway.server.seen[0]
    assert headers["x-forwarded-uri"] == "/v1/model/run-0001/round-0001.safetensors?mine"
    assert headers["x-forwarded-method"] == "GET"
    gateway.server.seen.clear()
    raw(gateway.port, gateway.ca, "POST /v1/enrol HTTP/1.1\r\nX-Forwarded-For: 203.0.113.9", b"{}")
    assert gateway.server.seen[0][2]["x-forwarded-for"] == "127.0.0.1"


def test_file_server_serves_nothing_outside_its_folder(gateway):
    """Even if the signature check accepts everything, as this stand-in does."""
    for path in (
        "../outside",
        "%2e%2e/outside",
        "..%2foutside",
        "run-0001/../../outside",
        "run-0001/..%2f..%2foutside",
        "%252e%252e/outside",
        "",
        "run-0001",
        "run-0001/",
    ):
        response = gateway.ask(f"GET /v1/model/{path}")
        assert status(response) != 200 and b"OUTSIDE" not in response and b"round-0001" not in response, (
            path,
            response[:300],
        )


def exchange(gateway: Gateway, data: bytes, seconds: float = 60, *, member: bool = False) -> bytes:
    """Send bytes over one TLS connection; return what the gateway sends until it closes it or is silent for `seconds`."""
    with connect(gateway.port, gateway.ca, gateway.certificate if member else "", seconds) as tls:
        tls.sendall(data)
        response = b""
        try:
            while chunk := tls.recv(65536):
                response += chunk
        except (ConnectionResetError, TimeoutError):
            pass
        return response


HIDDEN = b"GET /control/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
SMUGGLED = {
    "length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunks and length": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n" + HIDDEN + b"\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: 70\r\n\r\n" + HIDDEN,
    "a space before the colon": b"Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + HIDDEN,
    "another coding": b"Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + HIDDEN,
    "two codings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a folded header": b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a line feed alone": b"X: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + HIDDEN,
}


@pytest.fixture(scope="module")
def smuggling(gateway):
    """The response to each way at each path. Sent in parallel, since the gateway waits for more data on each connection."""

    def attempt(way: str, path: str) -> bytes:
        head = f"POST {path}?way={[*SMUGGLED].index(way)} HTTP/1.1\r\nHost: localhost\r\n".encode()
        return exchange(gateway, head + SMUGGLED[way], seconds=2, member=True)

    gateway.forget()
    with ThreadPoolExecutor(16) as pool:
        responses = {(way, path): pool.submit(attempt, way, path) for way in SMUGGLED for path in PATHS}
    reached = [target for _, target, _ in gateway.server.seen + gateway.superlink.seen]
    return {which: response.result() for which, response in responses.items()}, reached


PATHS = ["/v1/enrol", "/v1/fleet/pull-messages"]


@pytest.mark.parametrize("way", SMUGGLED)
@pytest.mark.parametrize("path", PATHS)
def test_no_request_is_smuggled_inside_another(smuggling, way, path):
    """Even if gateway and server disagree on the end of a request, only paths of the clinics reach the server."""
    responses, reached = smuggling
    hidden = [target for target in reached if target.partition("?")[0] not in PATHS]
    assert hidden == [], (hidden, responses[way, path][:300])
    assert sum(target == f"{path}?way={[*SMUGGLED].index(way)}" for target in reached) <= 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_versions_of_tls_are_rejected(gateway, version):
    context = ssl.create_default_context(cafile=str(gateway.ca))
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as connection, pytest.raises(OSError):
        context.wrap_socket(connection, server_hostname="localhost")


def test_endless_headers_are_rejected(gateway):
    gateway.forget()
    response = exchange(gateway, b"POST /v1/enrol HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 300_000 + b"\r\n\r\n")
    assert status(response) == 431 and not gateway.server.seen


@pytest.mark.parametrize("what", UNFINISHED)
def test_unfinished_request_is_disconnected(unfinished, what):
    """The gateway waits 10 s for headers, 20 s for a body; thousands of such connections would otherwise stay open."""
    assert unfinished[what].result(WAIT_S) < 90


@pytest.mark.skipif(
    shutil.which("sslyze") is None,
    reason="sslyze is not installed (in a separate environment: it needs another version of cryptography)",
)
def test_tls_scanner_finds_no_weakness(gateway, tmp_path):
    """sslyze, against Mozilla's "intermediate" recommendations."""
    report = tmp_path / "scan.json"
    done = subprocess.run(
        [
            "sslyze",
            "--sni",
            HUB_NAME,
            "--certinfo_ca_file",
            str(gateway.ca),
            "--mozilla_config",
            "intermediate",
            "--json_out",
            str(report),
            f"127.0.0.1:{gateway.port}",
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0 and "OK - Compliant" in done.stdout, done.stdout[-2000:]
    (server,) = json.loads(report.read_text())["server_scan_results"]
    scan = {k: v["result"] for k, v in server["scan_result"].items() if v and v["status"] == "COMPLETED"}
    versions = {k for k, v in scan.items() if k.endswith("_cipher_suites") and v["is_tls_version_supported"]}
    assert versions == {"tls_1_2_cipher_suites", "tls_1_3_cipher_suites"}
    (shown,) = scan["certificate_info"]["certificate_deployments"]
    assert any(p["verified_certificate_chain"] for p in shown["path_validation_results"])  # by the hub's own CA
    assert not scan["heartbleed"]["is_vulnerable_to_heartbleed"]
    assert not scan["openssl_ccs_injection"]["is_vulnerable_to_ccs_injection"]
    assert scan["robot"]["robot_result"].startswith("NOT_VULNERABLE")
    assert not scan["session_renegotiation"]["is_vulnerable_to_client_renegotiation_dos"]
    assert not scan["tls_compression"]["supports_compression"]
