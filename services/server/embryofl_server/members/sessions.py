"""Detects a key in use by two processes: an earlier session polls again after a newer one did.

Each trainer process names a random session in its status requests. A restarted trainer replaces the session before it,
which then never asks again; if it does, two processes share one key.
"""

import threading
import time
from collections import OrderedDict

REMEMBERED = 8  # sessions of a clinic
REPORTED_S = 600.0  # after the last sign


class Sessions:
    """Sessions by clinic, in memory: a key in use twice shows every few seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[str, OrderedDict[str, str]] = {}  # clinic: session to address, the newest last
        self._twice: dict[str, tuple[float, tuple[str, str]]] = {}

    def record_session(self, clinic: str, session: str, address: str) -> bool:
        """Record a status request; whether it is the first sign of a second process. A command's request has no session."""
        if not session:
            return False
        with self._lock:
            sessions = self._sessions.setdefault(clinic, OrderedDict())
            newest = next(reversed(sessions), session)
            again = session in sessions and newest != session
            sessions[session] = address
            sessions.move_to_end(session)
            while len(sessions) > REMEMBERED:
                sessions.popitem(last=False)
            if not again:
                return False
            before = self._twice.get(clinic)
            self._twice[clinic] = (time.time(), (sessions[newest], address))
            return before is None or time.time() - before[0] > REPORTED_S

    def twice(self) -> dict[str, tuple[str, str]]:
        """The clinics whose key is in use by two processes, and the addresses of both."""
        with self._lock:
            return {c: where for c, (at, where) in self._twice.items() if time.time() - at <= REPORTED_S}


def describe_addresses(where: tuple[str, str]) -> str:
    """Two addresses as a person reads them; one, when both are the same."""
    return " and ".join(sorted({*where}))
