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
PATIENCE_S = 1.0


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
        self._looking: threading.Thread | None = None
        self._looked = self._saved = float("-inf")
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
            if time.monotonic() - self._looked >= self.every_s and not (self._looking and self._looking.is_alive()):
                self._looking = threading.Thread(target=self._look, name="presence", daemon=True)
                self._looking.start()
            looking = self._looking
        if looking:
            looking.join(PATIENCE_S)
        with self._lock:
            known = time.monotonic() - self._looked < self.every_s + 2 * PATIENCE_S
            return (self._online if known else None), dict(self._seen)

    def _look(self) -> None:
        try:
            online = self.look()
        except LinkLost:
            online = None
        with self._lock:
            self._online, self._looked = online, time.monotonic()
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
