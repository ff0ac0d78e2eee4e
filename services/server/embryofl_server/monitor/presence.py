"""Who is connected to the SuperLink, and when each clinic last was. The times are kept in a small file, so that a restart
of the hub does not forget them."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

from embryofl.errors import UserError
from embryofl.files import write_atomic
from embryofl_server.federation.fleet import FleetLost

SAVE_EVERY_S = 60.0
POLL_EVERY_S = 2.0
PATIENCE_S = 1.0


class Presence:
    """Asks the SuperLink at most every `every_s` seconds, whoever wants to know.

    Parameters
    ----------
    poll : callable
        Returns whether each clinic is online; raises `FleetLost`.
    path : Path
        `last_seen.json`; written at most every `SAVE_EVERY_S`, and whenever a clinic comes or goes.
    """

    def __init__(self, poll: Callable[[], dict[str, bool]], path: Path) -> None:
        self.poll, self.every_s = poll, POLL_EVERY_S
        self._path, self._lock = path, threading.Lock()
        self._polling: threading.Thread | None = None
        self._polled = self._saved = float("-inf")
        self._online: dict[str, bool] | None = None
        self._names = frozenset[str]()
        try:
            self._seen = {str(k): float(v) for k, v in json.loads(path.read_text()).items()}
        except (OSError, ValueError, AttributeError, TypeError):
            self._seen = {}

    def now(self) -> tuple[dict[str, bool] | None, dict[str, float]]:
        """Whether each clinic is online (None if the SuperLink does not reply), and when each was last seen, Unix time in
        seconds. A SuperLink that hangs delays this by `PATIENCE_S` at most."""
        with self._lock:
            if time.monotonic() - self._polled >= self.every_s and not (self._polling and self._polling.is_alive()):
                self._polling = threading.Thread(target=self._poll, name="presence", daemon=True)
                self._polling.start()
            polling = self._polling
        if polling:
            polling.join(PATIENCE_S)
        with self._lock:
            fresh = time.monotonic() - self._polled < self.every_s + 2 * PATIENCE_S
            return (self._online if fresh else None), dict(self._seen)

    def _poll(self) -> None:
        try:
            online = self.poll()
        except FleetLost:
            online = None
        with self._lock:
            self._online, self._polled = online, time.monotonic()
            self._note(frozenset(name for name, is_online in (online or {}).items() if is_online))

    def _note(self, names: frozenset[str]) -> None:
        now = time.time()
        self._seen.update(dict.fromkeys(names, now))
        if names != self._names or now - self._saved > SAVE_EVERY_S:
            self._names, self._saved = names, now
            try:
                write_atomic(self._path, json.dumps(self._seen).encode())
            except (OSError, UserError):  # a full disk must not take away the metrics that report it
                self._saved = 0.0
