"""Who is connected to the SuperLink, and when each clinic last was. The times are kept in a small file, so that a restart
of the hub does not forget them."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

from embryofl.errors import UserError
from embryofl.files import write_atomic
from embryofl_server.federation.superlink import LinkLost

SAVE_EVERY_S = 60.0
LOOK_EVERY_S = 2.0


class Presence:
    """Asks the SuperLink at most every `every_s` seconds, whoever wants to know.

    Parameters
    ----------
    look : callable
        Returns whether each clinic is online; raises `LinkLost`.
    path : Path
        `last_seen.json`; written at most every `SAVE_EVERY_S`, and whenever a clinic comes or goes.
    """

    def __init__(self, look: Callable[[], dict[str, bool]], path: Path) -> None:
        self.look, self.every_s = look, LOOK_EVERY_S
        self._path, self._lock = path, threading.Lock()
        self._looked = self._saved = float("-inf")
        self._online: dict[str, bool] | None = None
        self._names = frozenset[str]()
        try:
            self._seen = {str(k): float(v) for k, v in json.loads(path.read_text()).items()}
        except (OSError, ValueError, AttributeError, TypeError):
            self._seen = {}

    def now(self) -> tuple[dict[str, bool] | None, dict[str, float]]:
        """Whether each clinic is online (None if the SuperLink does not answer), and when each was last seen, Unix time in
        seconds."""
        with self._lock:
            if time.monotonic() - self._looked >= self.every_s:
                try:
                    self._online = self.look()
                except LinkLost:
                    self._online = None
                self._looked = time.monotonic()
                self._note(frozenset(name for name, online in (self._online or {}).items() if online))
            return self._online, dict(self._seen)

    def _note(self, names: frozenset[str]) -> None:
        now = time.time()
        self._seen.update(dict.fromkeys(names, now))
        if names != self._names or now - self._saved > SAVE_EVERY_S:
            self._names, self._saved = names, now
            try:
                write_atomic(self._path, json.dumps(self._seen).encode())
            except (OSError, UserError):  # a full disk must not take away the metrics that report it
                self._saved = 0.0
