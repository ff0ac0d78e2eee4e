"""Sessions of logged-in browsers: random names, of which only the hashes are kept, in memory."""

import hashlib
import secrets
import time

SESSION_S = 12 * 3600.0
MOST_SESSIONS = 100
"""The oldest one ends when there are more."""


class Sessions:
    """The sessions of one app."""

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}  # SHA-256 of the name to the time it ends

    def open(self) -> str:
        """Start a session; its name, which the browser keeps in a cookie."""
        now, name = time.monotonic(), secrets.token_urlsafe(32)
        self._ends = {key: end for key, end in self._ends.items() if end > now}
        while len(self._ends) >= MOST_SESSIONS:
            del self._ends[next(iter(self._ends))]
        self._ends[_key(name)] = now + SESSION_S
        return name

    def is_valid(self, name: str) -> bool:
        """Whether this session exists and has not expired."""
        return self._ends.get(_key(name), 0.0) > time.monotonic()

    def close(self, name: str) -> None:
        """End a session."""
        self._ends.pop(_key(name), None)


def _key(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()
