"""A small HTTP proxy that allows only CONNECT, to known hosts, with or without a password, and records the requests."""

import base64
import contextlib
import socket
import threading
from types import TracebackType


class Proxy:
    """Listens on 127.0.0.1.

    Parameters
    ----------
    names : dict of str to str
        Allowed hosts and their addresses.
    name, password : str
        Required, unless empty.

    Attributes
    ----------
    asked : list of str
        host:port of every allowed CONNECT.
    """

    def __init__(self, names: dict[str, str], name: str = "", password: str = "") -> None:
        self._names, self.asked = names, list[str]()
        secret = base64.b64encode(f"{name}:{password}".encode()).decode()
        self._wanted = f"proxy-authorization: basic {secret}".lower() if name else ""
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(near)
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head and (data := near.recv(4096)):
            head += data
        lines = head.decode().split("\r\n")
        method, _, target = lines[0].partition(" ")
        target = target.partition(" ")[0]
        host, _, port = target.rpartition(":")
        if method != "CONNECT":
            status = "405 Method Not Allowed"
        elif self._wanted and self._wanted not in [x.lower() for x in lines]:
            status = "407 Proxy Authentication Required"
        elif host not in self._names:
            status = "403 Forbidden"
        else:
            status = "200 Connection established"
        near.sendall(f"HTTP/1.1 {status}\r\n\r\n".encode())
        if not status.startswith("200"):
            near.close()
            return
        self.asked.append(target)
        try:
            far = socket.create_connection((self._names[host], int(port)), timeout=10)
        except OSError:
            near.close()
            return
        far.settimeout(None)
        self._open.add(far)
        threading.Thread(target=self._pass, args=(far, near), daemon=True).start()
        self._pass(near, far)

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in list(self._open):
            end.close()
