"""Who is connected to the SuperLink, and when each clinic last was. The times are kept in a small file, so that a restart
of the hub does not forget them."""

import json
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from embryofl.files import write_atomic
from embryofl_server.federation.superlink import LinkLost

SAVE_EVERY_S = 60.0
LOOK_EVERY_S = 2.0


class LastSeen:
    """Last seen times by clinic, Unix time in seconds.

    Parameters
    ----------
    path : Path
        `last_seen.json`; written at most every `SAVE_EVERY_S`, and whenever a clinic comes or goes.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._saved, self._online = path, 0.0, frozenset[str]()
        try:
            self._at = {str(k): float(v) for k, v in json.loads(path.read_text()).items()}
        except (OSError, ValueError, AttributeError, TypeError):
            self._at = {}

    def note(self, online: Iterable[str]) -> dict[str, float]:
        """Record that these clinics are online now; returns all times."""
        now, names = time.time(), frozenset(online)
        self._at.update(dict.fromkeys(names, now))
        if names != self._online or now - self._saved > SAVE_EVERY_S:
            self._online, self._saved = names, now
            try:
                write_atomic(self._path, json.dumps(self._at).encode())
            except OSError:  # a full disk must not take away the metrics that report it
                self._saved = 0.0
        return dict(self._at)


class Presence:
    """Asks the SuperLink at most every `every_s` seconds, whoever wants to know.

    Parameters
    ----------
    look : callable
        Returns whether each clinic is online; raises `LinkLost`.
    path : Path
        See `LastSeen`.
    """

    def __init__(self, look: Callable[[], dict[str, bool]], path: Path) -> None:
        self.look, self.every_s = look, LOOK_EVERY_S
        self._seen, self._lock, self._at = LastSeen(path), threading.Lock(), float("-inf")
        self._online: dict[str, bool] | None = None
        self._last: dict[str, float] = {}

    def now(self) -> tuple[dict[str, bool] | None, dict[str, float]]:
        """Whether each clinic is online (None if the SuperLink does not answer), and when each was last seen."""
        with self._lock:
            if time.monotonic() - self._at >= self.every_s:
                try:
                    self._online = self.look()
                except LinkLost:
                    self._online = None
                self._last = self._seen.note(name for name, online in (self._online or {}).items() if online)
                self._at = time.monotonic()
            return self._online, self._last
