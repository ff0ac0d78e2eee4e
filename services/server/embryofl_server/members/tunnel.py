"""What the tunnel (`embryofl-tunnel`, a process or container of its own) says of itself, read from its file."""

import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from embryofl.tunnel import TunnelState

FRESH_S = 30.0  # the tunnel writes every few seconds; older words are those of one that is gone


class Tunnel:
    """The hub's view of its tunnel.

    Parameters
    ----------
    path : Path or None
        The file that the tunnel writes; None: there is no tunnel.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def _read(self) -> TunnelState | None:
        try:
            return TunnelState.model_validate_json(self._path.read_text()) if self._path else None
        except (OSError, ValidationError):
            return None

    def addresses(self) -> list[str]:
        """Public addresses, host:port: the tunnel's, also while it is lost (it may come back there), or none."""
        found = self._read()
        return [found.address] if found and found.address else []

    def state(self) -> dict[str, Any] | None:
        """For the status: `up`, `address`, `before` (the address it had, if it has changed), `words`; None: no tunnel."""
        if self._path is None:
            return None
        found = self._read()
        if found is None:
            return {"up": False, "address": "", "before": "", "words": "The tunnel has not been started yet."}
        up, words = found.up, found.words
        if time.time() - found.time > FRESH_S:
            up, words = False, "The tunnel's process is not running."
        return {"up": up, "address": found.address, "before": found.before, "words": words}
