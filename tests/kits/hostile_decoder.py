"""Decoders taken over by a file, each trying something else: run by a worker of the sandbox."""

import os
import socket
import threading
from contextlib import AbstractContextManager
from pathlib import Path

Reply = tuple[dict[str, object], bytes]


def work(data: bytes, large: AbstractContextManager[object]) -> Reply:
    """What an honest one does."""
    return {"length": len(data)}, data[::-1]


def reach_out(data: bytes, large: AbstractContextManager[object]) -> Reply:
    """Try each of these, after closing an open file to free its number, and report what succeeded."""
    os.close(2)
    attempts = {
        "read a file": lambda: Path("/etc/hostname").read_bytes(),
        "write a file": lambda: Path(data.decode()).write_bytes(b"x"),
        "delete a file": lambda: Path(data.decode()).with_name("kept").unlink(),
        "list a folder": lambda: os.listdir("/"),
        "connect": lambda: socket.socket().connect(("127.0.0.1", 1)),
        "open a socket": socket.socket,
        "start a process": os.fork,
        "become another program": lambda: os.execv("/bin/true", ["true"]),
        "signal its parent": lambda: os.kill(os.getppid() or 1, 0),
        "raise its limits": lambda: __import__("resource").setrlimit(7, (100, 100)),
    }
    done = []
    for name, attempt in attempts.items():
        try:
            attempt()
            done.append(name)
        except (OSError, ValueError):
            continue
    return {"done": done, "environment": sorted(os.environ)}, b""


def take_memory(data: bytes, large: AbstractContextManager[object]) -> Reply:
    """Ask for more memory than a worker has."""
    return {"length": len(bytearray(4 << 30))}, b""


def never_end(data: bytes, large: AbstractContextManager[object]) -> Reply:
    """Compute for ever."""
    while True:
        pass


def wait_for_ever(data: bytes, large: AbstractContextManager[object]) -> Reply:
    """Wait, without computing, for what does not come."""
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
    return {}, b""


def crash(data: bytes, large: AbstractContextManager[object]) -> Reply:
    """End as a segmentation fault does."""
    os._exit(139)


def send_nonsense(data: bytes, large: AbstractContextManager[object]) -> Reply:
    """Send the given bytes in place of a reply."""
    for descriptor in range(3, 9):
        try:
            os.write(descriptor, data)
        except OSError:
            continue
    os._exit(0)


def lie(data: bytes, large: AbstractContextManager[object]) -> Reply:
    """Reply as if it had decoded another image than it sends."""
    return {"width": 9, "height": 9, "mode": "L", "note": "", "columns": 40_000, "rows": 40_000, "bands": "RGB"}, b"x"


def ask_for_ever(data: bytes, large: AbstractContextManager[object]) -> Reply:
    """Ask for the lock of large images again and again."""
    while True:
        with large:
            continue
