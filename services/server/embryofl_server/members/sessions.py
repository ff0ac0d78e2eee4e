"""Notices a key that is used in two places: a process of the clinic's that is heard again after another one was.

Each process of a clinic's names a random session when it asks how the clinic stands. A process that is started anew takes
the place of the one before, which is never heard again; where it is, two are at work with one key.
"""

import threading
import time
from collections import OrderedDict

REMEMBERED = 8  # sessions of a clinic
TOLD_S = 600.0  # so long after the last sign of two it is told


class Sessions:
    """Sessions by clinic, in memory: signs come every few seconds for as long as the key is used twice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heard: dict[str, OrderedDict[str, str]] = {}  # clinic: session to address, the newest last
        self._twice: dict[str, tuple[float, tuple[str, str]]] = {}

    def heard(self, clinic: str, session: str, address: str) -> bool:
        """A session asked from an address; whether that is the first sign of a second place."""
        if not session:
            return False
        with self._lock:
            known = self._heard.setdefault(clinic, OrderedDict())
            newest = next(reversed(known), session)
            again = session in known and newest != session
            known[session] = address
            known.move_to_end(session)
            while len(known) > REMEMBERED:
                known.popitem(last=False)
            if not again:
                return False
            before = self._twice.get(clinic)
            self._twice[clinic] = (time.time(), (known[newest], address))
            return before is None or time.time() - before[0] > TOLD_S

    def twice(self) -> dict[str, tuple[str, str]]:
        """The clinics whose key is used in two places, and from which addresses."""
        with self._lock:
            return {c: where for c, (at, where) in self._twice.items() if time.time() - at <= TOLD_S}


def in_words(where: tuple[str, str]) -> str:
    """Two addresses as a person reads them; one, when both are the same."""
    return " and ".join(sorted({*where}))
