"""The line between a clinic and the gateway: plain TCP through this process, which can be cut, moved and slowed."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable


class Line:
    """Passes bytes on from `address` to the gateway.

    Parameters
    ----------
    port : int
        The gateway's, on 127.0.0.1; the line listens on the same number on `address`.
    address : str
        Another loopback address, such as 127.0.0.2.

    Attributes
    ----------
    down : bool
        While set, nothing is passed on and nothing is closed: what a pulled plug looks like from both ends.
    watch : callable
        Called with the direction ("up" from the clinic, "down" to it) and the bytes that a connection has passed so far.
    """

    def __init__(self, port: int, address: str) -> None:
        self._port, self.address = port, address
        self.down = False
        self.watch: Callable[[str, int], None] = lambda direction, passed: None
        self._open: set[socket.socket] = set()
        self._closed = False
        self._listener = socket.create_server((address, port))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                continue
            self._open |= {near, far}
            threading.Thread(target=self._pass, args=(near, far, "up"), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, "down"), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, direction: str) -> None:
        passed = 0
        try:
            while data := source.recv(1 << 16):
                while self.down and not self._closed:
                    time.sleep(0.05)
                passed += len(data)
                self.watch(direction, passed)
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            self._open.discard(end)
            _end(end)

    def close(self) -> None:
        """End it and all that goes through it."""
        if self._closed:
            return
        self._closed = True
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`, which would hold the port
        self._thread.join()
        self._listener.close()
        for end in list(self._open):
            _end(end)


def _end(connection: socket.socket) -> None:
    """Close it so that the other side and a thread that reads from it notice."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
