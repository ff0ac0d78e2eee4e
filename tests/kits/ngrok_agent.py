#!/usr/bin/env python3
"""A stand-in for ngrok's agent: its command line, log lines (logfmt) and local API, and a TCP tunnel on this machine.

It implements what pyngrok needs of the agent, version 3: `start --none --log stdout --config FILE`, `/api/tunnels`. It
rejects tokens that begin with `malformed`, `unknown` or `crowded`, each with ngrok's words. It obeys the file `order` in
the folder NGROK_STANDIN: `lose`, `back`, `move` (another host and port) or `die`. NGROK_STANDIN_HOST is the host of its
public addresses (default: 127.0.0.1, then 127.0.0.2 ...). Standard library only.
"""

import contextlib
import json
import os
import re
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

YOURS = "\\nYour authtoken: {token}\\nInstructions are on your ngrok dashboard\\r\\n\\r\\n{code}\\r\\n"
REFUSED = {
    "malformed": ("The authtoken you specified does not look like a proper ngrok tunnel authtoken.", "ERR_NGROK_105"),
    "unknown": ("The authtoken you specified is properly formed, but it is invalid.", "ERR_NGROK_107"),
    "crowded": ("Your account is limited to 1 simultaneous ngrok agent sessions.", "ERR_NGROK_108"),
}


def say(level: str, msg: str, **more: str) -> None:
    """A log line as ngrok writes it."""
    words = " ".join(f'{k}="{v}"' if " " in v else f"{k}={v}" for k, v in more.items())
    print(f't={time.strftime("%Y-%m-%dT%H:%M:%S+0000")} lvl={level} msg="{msg}" {words}', flush=True)


class Forward:
    """Passes TCP from a public address to a local one."""

    def __init__(self, host: str, port: int, target: str) -> None:
        self._target, self._open = target, set()
        self._listener = socket.create_server((host, port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            host, _, port = self._target.rpartition(":")
            try:
                far = socket.create_connection((host, int(port)), timeout=10)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self._open |= {near, far}
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(a, b), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            self._end(end)

    def _end(self, end: socket.socket) -> None:
        self._open.discard(end)
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in list(self._open):
            self._end(end)


class Tunnels:
    """The open tunnels, as the API shows them."""

    def __init__(self) -> None:
        self.by_name: dict[str, dict[str, Any]] = {}
        self._forward: Forward | None = None
        self._target, self._number = "", 0

    def start(self, options: dict[str, Any]) -> dict[str, Any]:
        """Open a tunnel."""
        assert options["proto"] == "tcp"
        self._target, name = str(options["addr"]), options["name"]
        self._listen(options.get("remote_addr", ""))
        self.by_name[name] = {
            "name": name,
            "ID": "x",
            "uri": f"/api/tunnels/{name}",
            "proto": "tcp",
            "public_url": self._url,
            "config": {"addr": self._target, "inspect": False},
            "metrics": {},
        }
        say("info", "started tunnel", obj="tunnels", name=name, addr=self._target, url=self._url)
        return self.by_name[name]

    def _listen(self, remote: str = "") -> None:
        self._number += 1
        named = os.environ.get("NGROK_STANDIN_HOST", "")
        host, _, port = remote.rpartition(":")
        host = host or named or f"127.0.0.{self._number}"
        numeric = host.replace(".", "").isdigit()
        self._forward = Forward(host if numeric else "0.0.0.0", int(port or 0), self._target)
        self._url = f"tcp://{host}:{self._forward.port}"

    def obey(self, order: str) -> None:
        """`lose`, `back`, `move`, `die`."""
        if order == "die":
            os._exit(1)
        if order in ("lose", "move") and self._forward:
            self._forward.close()
            self._forward = None
            say("warn", "session closed, starting reconnect loop", obj="csess", err="read EOF from remote peer")
        if order in ("back", "move") and self.by_name:
            same = self._url.removeprefix("tcp://") if order == "back" else ""
            self._listen(same)
            for tunnel in self.by_name.values():
                tunnel["public_url"] = self._url
            say("info", "client session established", obj="csess")


def handler(tunnels: Tunnels) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self, status: int, body: Any = None) -> None:
            data = json.dumps(body).encode() if body is not None else b""
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            listed = list(tunnels.by_name.values())
            self._answer(200, {"tunnels": listed, "uri": "/api/tunnels"} if self.path == "/api/tunnels" else {})

        def do_POST(self) -> None:
            options = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(201, tunnels.start(options))

        def do_DELETE(self) -> None:
            tunnels.by_name.pop(self.path.rpartition("/")[2], None)
            self._answer(204)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def main() -> None:
    words = sys.argv[1:]
    assert words[:4] == ["start", "--none", "--log", "stdout"] and "--authtoken" not in words, words
    text = Path(words[words.index("--config") + 1]).read_text()
    match = re.search(r'^authtoken: "?([^"\n]*)"?$', text, re.M)
    token = match.group(1) if match else ""
    say("info", "no configuration paths supplied")
    for kind, (why, code) in REFUSED.items():
        if token.startswith(kind):
            err = why + YOURS.format(token=token, code=code)
            say("eror", "failed to auth", obj="tunnels.session", err=err)
            say("crit", "command failed", err=err)
            sys.exit(1)
    tunnels = Tunnels()
    api = ThreadingHTTPServer(("127.0.0.1", 0), handler(tunnels))
    threading.Thread(target=api.serve_forever, daemon=True).start()
    say("info", "starting web service", obj="web", addr=f"127.0.0.1:{api.server_port}", allow_hosts="[]")
    say("info", "client session established", obj="csess")
    say("info", "tunnel session started", obj="tunnels.session")
    order = Path(os.environ.get("NGROK_STANDIN", "/nowhere")) / "order"
    while os.getppid() != 1:
        if order.exists():
            words = order.read_text().strip()
            order.unlink()
            tunnels.obey(words)
        time.sleep(0.05)


if __name__ == "__main__":
    main()
