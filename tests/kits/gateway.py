"""Requests written byte by byte, and the paths that the gateway must not serve."""

import socket
import ssl
from pathlib import Path

from embryofl.invite import HUB_NAME
from embryofl_clinic.joining.route import HubContext


def connect(port: int, ca: Path, certificate: str = "", seconds: float = 60) -> ssl.SSLSocket:
    """A TLS connection to a gateway of this machine, as a clinic with this certificate or a stranger opens it."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=seconds)
    return HubContext.of(ca.read_text(), HUB_NAME, certificate).wrap_socket(connection)


def raw(port: int, ca: Path, request_line: str, body: bytes = b"", certificate: str = "") -> bytes:
    """Send a request line exactly as written; returns the response's bytes."""
    with connect(port, ca, certificate) as tls:
        head = f"{request_line}\r\nHost: localhost\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        tls.sendall(head.encode() + body)
        response = b""
        while chunk := tls.recv(65536):
            response += chunk
        return response


def status(response: bytes) -> int:
    return int(response.split(b" ", 2)[1])


SHUT = [
    "/",
    "/docs",
    "/redoc",
    "/openapi.json",
    "/healthz",
    "/health",
    "/metrics",
    "/control/status",
    "/control/runs",
    "/control/stop",
    "/control/validate",
    "/control/invites",
    "/internal/authorise",
    "/v1/control/list-runs",
    "/v1/control/start-run",
    "/v1/control/register-node",
    "/v1/control/list-nodes",
    "/v1/runtime/acquire-task",
    "/v1/runtime/push-messages",
    "/v1",
    "/v1/",
    "/v1/fleet",
    "/v1/other",
    # tricks with the path
    "/v1/fleet/../control/list-runs",
    "/v1/fleet/%2e%2e/control/list-runs",
    "/v1/fleet/..%2fcontrol/list-runs",
    "/v1/fleet/%2e%2e%2fcontrol%2flist-runs",
    "/v1/fleet/./../control/list-runs",
    "/v1/fleet/..;/control/list-runs",
    "/v1/fleet//../control/list-runs",
    "//v1/control/list-runs",
    "/v1//control/list-runs",
    "/v1/fleet/../../docs",
    "/v1/fleet/..\\control\\list-runs",
    "/v1/fleet/%252e%252e/control/list-runs",
    "/V1/CONTROL/LIST-RUNS",
    "/v1/enrol/../control/status",
    "/v1/enrol/../../control/status",
    "/v1/update/../control/status",
    "/v1/update/../../control/status",
    "/v1/update/%2e%2e/%2e%2e/control/status",
    "/v1/update/..%2f..%2fcontrol/status",
    "/v1/model/../control/status",
    "/v1/model/../../control/status",
    "/v1/model/..%2f..%2finternal/authorise",
    "/v1/control/../fleet/x/../../control/list-runs",
    "/v1/fleet/pull-messages/../../control/list-runs",
    "/v1/fleet/pull-messages%00/../../control/list-runs",
    "/v1/fleet/pull-messages?/../../control/list-runs#",
    "https://superlink/v1/control/list-runs",
    "http://server/control/status",
    "https://localhost/v1/fleet/../control/list-runs",
]
