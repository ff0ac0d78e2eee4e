"""A proxy that terminates a clinic's TLS with a certificate the clinic trusts, and records every HTTP message both ways."""

import ssl
import threading
from collections.abc import Callable
from http.client import HTTPResponse, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from embryofl.invite import HUB_NAME
from embryofl_clinic.joining.identity import ClinicIdentity
from embryofl_clinic.joining.route import HubContext

_HOP = {"connection", "keep-alive", "transfer-encoding", "host", "content-length"}


class RecordingProxy:
    """Records complete bodies (after chunked coding), request lines and headers.

    Parameters
    ----------
    certificate, key : Path
        Shown to the clinic.
    ca : Path
        Authority of the gateway behind.
    port : int
        Of the gateway, on localhost.
    identity : Path
        The clinic's, whose certificate is shown to the gateway.
    """

    def __init__(self, certificate: Path, key: Path, ca: Path, port: int, identity: Path) -> None:
        self._heads: list[bytes] = []
        self._bodies: dict[bytes, None] = {}  # each once, in order: a repeated run sends the same weights again
        self.requests: list[tuple[str, str]] = []  # method and target
        self.loses: Callable[[str, bytes], bool] = lambda target, response: False  # is this response lost on its way?
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            upstream: HTTPSConnection | None = None

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def _relay(self) -> None:
                body = self._body()
                head = f"{self.command} {self.path}\r\n{self.headers}".encode()
                proxy._record(head, body, (self.command, self.path))
                headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
                behind = HubContext.of(ca.read_text(), HUB_NAME, ClinicIdentity(identity).certificate())
                upstream = HTTPSConnection("localhost", port, context=behind, timeout=120)
                try:
                    upstream.request(self.command, self.path, body, headers)
                    response: HTTPResponse = upstream.getresponse()
                    data = response.read()
                finally:
                    upstream.close()
                if proxy.loses(self.path, data):
                    self.close_connection = True
                    return
                proxy._record(f"{response.status}\r\n{response.headers}".encode(), data)
                self.send_response(response.status)
                for header, value in response.getheaders():
                    if header.lower() not in _HOP:
                        self.send_header(header, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _relay

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                    body = b""
                    while size := int(self.rfile.readline().split(b";")[0], 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                    return body
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _record(self, head: bytes, body: bytes, request: tuple[str, str] | None = None) -> None:
        with self._lock:
            self._heads.append(head)
            self._bodies[body] = None
            if request:
                self.requests.append(request)

    def everything(self) -> bytes:
        """Everything recorded, joined by newlines."""
        with self._lock:
            return b"\n".join([*self._heads, *self._bodies])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
