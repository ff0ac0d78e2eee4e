"""Incremental reading of a growing file of JSON lines: nothing is parsed twice."""

import json
from pathlib import Path
from typing import Any

_TAIL = 256  # bytes before the position reached that must not have changed


class JsonLines:
    """The lines of a file that is appended to, or replaced by one with more lines at its end.

    Parameters
    ----------
    path : Path
        Need not exist (yet).
    """

    def __init__(self, path: Path) -> None:
        self._path, self._at, self._seen, self._tail = path, 0, (0, 0), b""

    def read(self) -> tuple[bool, list[dict[str, Any]]]:
        """Whether the file was started afresh (what was read before no longer counts), and its new complete lines."""
        try:
            stat = self._path.stat()
            if (stat.st_mtime_ns, stat.st_size) == self._seen:
                return False, []
            with self._path.open("rb") as file:
                restarted = self._at > 0 and not self._continues(file, stat.st_size)
                if restarted:
                    self._at, self._tail = 0, b""
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:
            restarted, self._at, self._seen, self._tail = self._at > 0, 0, (0, 0), b""
            return restarted, []
        self._seen = (stat.st_mtime_ns, stat.st_size)
        complete = data[: data.rfind(b"\n") + 1]
        self._at += len(complete)
        self._tail = (self._tail + complete)[-_TAIL:]
        return restarted, [line for line in map(_parse, complete.splitlines()) if line is not None]

    def _continues(self, file: Any, size: int) -> bool:
        if size < self._at:
            return False
        file.seek(self._at - len(self._tail))
        return bool(file.read(len(self._tail)) == self._tail)


def _parse(line: bytes) -> dict[str, Any] | None:
    """A line, or None if it is damaged."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
