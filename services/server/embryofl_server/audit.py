"""The audit log: one JSON line per event, each carrying the hash of the line before, so that a change shows."""

import hashlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

_START = "0" * 64


class AuditLog:
    """Append-only `audit.jsonl`."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        if lines and not lines[-1].endswith(b"\n"):  # a line cut off by a power failure: drop it before going on
            lines.pop()
            with path.open("r+b") as file:
                file.truncate(sum(map(len, lines)))
        self._last = _hash(lines[-1].rstrip(b"\n")) if lines else _START

    def write(self, event: str, **details: Any) -> None:
        """Append an event; details are JSON values and name no patient and no file of a clinic."""
        with self._lock:
            line = json.dumps(
                {"time": round(time.time(), 3), "event": event, **details, "previous": self._last}
            ).encode()
            with self._path.open("ab") as file:
                file.write(line + b"\n")
                file.flush()
                os.fsync(file.fileno())
            self._last = _hash(line)


def verify(path: Path) -> int | None:
    """The number of the first line (from 1) that does not fit the one before it; None when the chain is whole."""
    last = _START
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                if json.loads(line)["previous"] != last:
                    return number
            except (ValueError, KeyError, TypeError):
                return number
            last = _hash(line.rstrip(b"\n"))
    return None


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
