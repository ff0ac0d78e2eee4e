"""The password (scrypt at rest), its sessions, and a limit on wrong passwords."""

import collections
import hashlib
import hmac
import secrets
import time
from pathlib import Path

from embryofl.files import write_atomic
from embryofl_web.sessions import Sessions

_N, _R, _P = 2**14, 8, 1  # scrypt's cost: RFC 7914's for interactive logins, 16 MiB
MOST_TRIES, WINDOW_S = 10, 60.0


def new_password(path: Path) -> str:
    """Create a password and store its hash; the password itself is stored nowhere."""
    password, salt = secrets.token_urlsafe(18), secrets.token_bytes(16)
    write_atomic(path, f"{salt.hex()} {_hash(password, salt).hex()}".encode(), mode=0o600)
    return password


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode("utf-8", "replace"), salt=salt, n=_N, r=_R, p=_P)


class LoginSessions:
    """Logins and sessions.

    Parameters
    ----------
    path : Path
        The password's hash, as `new_password` writes it. A new password ends all sessions.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sessions = Sessions()
        self._opened_by = ""  # the hash that the sessions were opened with
        self._failed: collections.deque[float] = collections.deque(maxlen=MOST_TRIES)

    def too_many(self) -> bool:
        """Whether there were too many wrong passwords in the last minute, so that logins are closed.

        Counted for all addresses together: the console listens on loopback, where all have the same.
        """
        return len(self._failed) == MOST_TRIES and time.monotonic() - self._failed[0] < WINDOW_S

    def has_password(self) -> bool:
        """Whether there is a password; without one nobody can log in."""
        return self._path.exists()

    def log_in(self, password: str) -> str:
        """Start a session; its name, or "" for a wrong password."""
        stored = self._stored()
        salt, _, digest = stored.partition(" ")
        if not hmac.compare_digest(_hash(password[:200], bytes.fromhex(salt)), bytes.fromhex(digest)):
            self._failed.append(time.monotonic())
            return ""
        if stored != self._opened_by:
            self._sessions.close_all()
            self._opened_by = stored
        return self._sessions.open()

    def is_valid(self, name: str) -> bool:
        """Whether this session exists and has not expired."""
        return self._sessions.is_valid(name) and self._stored() == self._opened_by

    def _stored(self) -> str:
        try:
            return self._path.read_text()
        except FileNotFoundError:
            return ""

    def log_out(self, name: str) -> None:
        """End a session."""
        self._sessions.close(name)
