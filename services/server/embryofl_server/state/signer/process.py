"""The signer's program: answers the server by a Unix socket, one request after another.

A request is one line of JSON, `{"ask": "contact"}`, and so is its reply: what was asked for, or `{"error": "..."}`. Nobody
but the server can open the socket: its folder is shared with the server alone.
"""

import contextlib
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from embryofl.errors import UserError
from embryofl.process import set_up_logging
from embryofl_server.settings import load_settings
from embryofl_server.state.signer.authority import Authority

log = logging.getLogger("embryofl.signer")

LONGEST = 100_000  # bytes of a request or reply
ANSWER_S = 10.0  # for each read and write


def serve() -> None:
    """Answer by the socket of the settings until it is stopped."""
    set_up_logging()
    settings = load_settings()
    authority = Authority(settings)
    with listening(settings.socket) as listener:
        log.info("the signer waits for the server at %s", settings.socket)
        answer_all(listener, authority)


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A socket that only this user and this group can connect to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # of a process that was killed
    with socket.socket(socket.AF_UNIX) as listener, short(path) as address:
        listener.bind(address)
        path.chmod(0o660)
        listener.listen()
        yield listener


@contextlib.contextmanager
def short(path: Path) -> Iterator[str]:
    """The path, in a form that fits into the about 100 bytes that a socket's may have. On Linux; elsewhere as it is."""
    if not hasattr(os, "O_PATH"):
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def answer_all(listener: socket.socket, authority: Authority) -> None:
    """Answer everybody who connects, for ever."""
    while True:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):  # it has gone, or was silent for too long
            connection.settimeout(ANSWER_S)
            if line := read_line(connection):
                connection.sendall(json.dumps(_answer(authority, line)).encode() + b"\n")


def read_line(connection: socket.socket) -> bytes:
    """One line; "" if the other side closes the connection, or writes more than `LONGEST` bytes."""
    with connection.makefile("rb") as file:
        line = file.readline(LONGEST)
    return line if line.endswith(b"\n") else b""


def _answer(authority: Authority, line: bytes) -> dict[str, Any]:
    answers: dict[str, Callable[..., dict[str, Any]]] = {
        "trust": lambda: authority.trust()._asdict(),
        "certificate": lambda request: {"certificate": authority.certificate(str(request))},
        "contact": lambda: authority.contact().model_dump(),
        "begin_rotation": lambda: authority.begin_rotation()._asdict(),
        "finish_rotation": lambda: authority.finish_rotation()._asdict(),
    }
    try:
        asked = json.loads(line)
        return answers[asked.pop("ask")](**asked)
    except UserError as exc:
        return {"error": str(exc)}
    except (ValueError, TypeError, KeyError, AttributeError):
        log.exception("a request was refused")
        return {"error": "The signer does not do this. Expected a request of the server's, of the same version."}
    except Exception:
        log.exception("the signer met an error of its own")
        return {"error": "The signer met an error of its own: see its log."}
