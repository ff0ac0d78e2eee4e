"""Who is logged in, as the hub has written it: people, passwords and sessions are the hub's."""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Person:
    """A person who is logged in."""

    name: str
    role: str

    @property
    def acts(self) -> bool:
        """Whether this person may change something."""
        return self.role == "coordinator"

    @property
    def audits(self) -> bool:
        """Whether this person may read the audit log."""
        return self.role in ("coordinator", "auditor")


class Logins:
    """The sessions of the hub's people.

    Parameters
    ----------
    path : Path
        The hub's copy for the console, which is replaced whenever a session begins or ends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[tuple[int, int], dict[str, Any]] = ((0, 0), {})

    def person(self, session: str) -> Person | None:
        """Whose session this is; None when there is none such, or it has ended."""
        try:
            now = self._path.stat()
            if (version := (now.st_ino, now.st_mtime_ns)) != self._read[0]:
                self._read = version, json.loads(self._path.read_text())
        except FileNotFoundError:
            return None
        entry = self._read[1].get(hashlib.sha256(session.encode("utf-8", "replace")).hexdigest())
        return Person(entry["name"], entry["role"]) if entry and entry["ends"] > time.time() else None

    def is_valid(self, name: str) -> bool:
        """Whether this session exists and has not ended."""
        return self.person(name) is not None
