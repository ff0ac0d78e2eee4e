"""Passes requests on with a login, for tools that have none."""

import contextlib
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextlib.contextmanager
def logged_in(make: Callable[[str], urllib.request.Request]) -> Iterator[str]:
    """An address on this machine. `make(path)` is the request that a request for this path becomes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._pass_on(None)

        def do_POST(self) -> None:
            self._pass_on(self.rfile.read(int(self.headers["Content-Length"])))

        def _pass_on(self, body: bytes | None) -> None:
            request = make(self.path)
            request.data = body
            request.add_header("Content-Type", self.headers.get("Content-Type", "text/plain"))
            try:
                with urllib.request.urlopen(request, timeout=60) as response:
                    status, kind, answer = response.status, response.headers["Content-Type"], response.read()
            except urllib.error.HTTPError as error:
                status, kind, answer = error.code, error.headers["Content-Type"], error.read()
            self.send_response(status)
            self.send_header("Content-Type", kind or "text/plain")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
