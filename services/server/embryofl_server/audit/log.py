"""The audit log: one JSON line per event, each with the hash of the line before, so that any change is detected.

A log that is cut off at its end is still a valid chain. Its head, the number of lines and the hash of the last one, is
therefore kept outside as well, in the hub's database: removing the newest lines would need a change in both.
"""

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embryofl_server.state.database import Database

log = logging.getLogger("embryofl.audit")

HEAD = "audit_head"
"""Name of the fact that holds the head: "" or number of lines and hash of the last."""
DAMAGED = "audit_damaged"
_START = "0" * 64
_RECORDED = "this was found"


@dataclass(frozen=True)
class Break:
    """Where a log is broken: the number of the first line (from 1) that cannot be trusted, and why."""

    line: int
    message: str


class AuditLog:
    """Append-only `audit.jsonl`.

    Parameters
    ----------
    path : Path
    database : Database
        Keeps the head.
    """

    def __init__(self, path: Path, database: Database) -> None:
        self._path, self._database, self._lock = path, database, threading.Lock()
        self._drop_torn_line()
        self._lines, self._last = 0, _START
        broken = verify(path, database.fact(HEAD))
        for _, line in _lines(path):
            self._lines, self._last = self._lines + 1, _hash(line)
        if broken and not self._is_recorded(broken):
            log.error("the audit log is broken at line %d: %s", broken.line, broken.message)
            self.write(DAMAGED, line=broken.line, words=broken.message)

    def _is_recorded(self, broken: Break) -> bool:
        """Whether the log already records this damage."""
        return broken.message.startswith(_RECORDED) or any(
            e.get("event") == DAMAGED and (e.get("line"), e.get("words")) == (broken.line, broken.message)
            for e in entries(self._path)
        )

    def _drop_torn_line(self) -> None:
        """Drop a line that a power failure cut off: it never counted."""
        data = self._path.read_bytes() if self._path.exists() else b""
        if data and not data.endswith(b"\n"):
            os.truncate(self._path, data.rfind(b"\n") + 1)

    def write(self, event: str, **details: Any) -> None:
        """Append an event; details are JSON values that name no patient and no file of a clinic."""
        with self._lock:
            entry = {"time": round(time.time(), 3), "event": event, **details, "previous": self._last}
            line = json.dumps(entry).encode()
            with self._path.open("ab") as file:
                file.write(line + b"\n")
                file.flush()
                os.fsync(file.fileno())
            self._lines, self._last = self._lines + 1, _hash(line)
            self._database.set_fact(HEAD, f"{self._lines} {self._last}")


def verify(path: Path, head: str) -> Break | None:
    """Where the log is broken; None if it is intact.

    A changed line shows at the next line, whose hash no longer fits, and the newest one at the head. Lines newer than the
    head are valid: the hub may have been killed between writing a line and the head.
    """
    count, _, digest = head.partition(" ")
    stored_count, last, number, recorded = int(count or 0), _START, 0, None
    for number, line in _lines(path):
        try:
            entry = json.loads(line)
            fits = entry["previous"] == last
        except (ValueError, KeyError, TypeError):
            return Break(number, "the line is damaged")
        if not fits:
            return Break(number, "the line before it was changed, or lines before it were removed or inserted")
        last = _hash(line)
        if number == stored_count and last != digest:
            return Break(number, "the newest line recorded in the hub's database was changed")
        if entry.get("event") == DAMAGED and recorded is None:
            recorded = Break(int(entry["line"]), f"{_RECORDED} at a start of the hub (line {number}): {entry['words']}")
    if number < stored_count:
        return Break(number + 1, f"the log ends after {number} lines; the hub's database has recorded {stored_count}")
    return recorded


def entries(path: Path) -> Iterator[dict[str, Any]]:
    """The events, oldest first, each with its `line` number; lines that are not JSON objects are skipped."""
    for number, line in _lines(path):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield {"line": number, **entry}


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if path.exists():
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield number, line.rstrip(b"\n")


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
