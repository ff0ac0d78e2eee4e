"""When each clinic was last connected. Kept in a small file, so that a restart of the hub does not forget it."""

import json
import time
from collections.abc import Iterable
from pathlib import Path

from embryofl.files import write_atomic

SAVE_EVERY_S = 60.0


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
        """Those who are online were seen now; returns all times."""
        now, names = time.time(), frozenset(online)
        self._at.update(dict.fromkeys(names, now))
        if names != self._online or now - self._saved > SAVE_EVERY_S:
            self._online, self._saved = names, now
            try:
                write_atomic(self._path, json.dumps(self._at).encode())
            except OSError:  # a full disk must not take the metrics away that tell of it
                self._saved = 0.0
        return dict(self._at)
