"""Reading the audit log of a hub's state folder, whether the hub runs or not."""

import datetime
import json
import sqlite3
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embryofl.errors import UserError
from embryofl_server.audit.log import entries, verify

_NOT_SHOWN = ("line", "time", "event", "previous")


class _StoredHead:
    """The head as it is in the database, read without taking part in the hub's work."""

    def __init__(self, path: Path) -> None:
        try:
            with sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True) as db:
                row = db.execute("SELECT value FROM facts WHERE name = 'audit_head'").fetchone()
        except sqlite3.Error:  # none yet, or of an older version: then the chain alone is looked at
            row = None
        self._value = str(row[0]) if row else ""

    def fact(self, name: str) -> str:
        return self._value

    def set_fact(self, name: str, value: str) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class Filter:
    """What to show: kinds of event, a clinic, a run, from when on (ISO 8601), and how many of the newest (0 = all)."""

    events: tuple[str, ...] = ()
    clinic: str = ""
    run: str = ""
    since: str = ""
    last: int = 0

    def takes(self, entry: dict[str, Any]) -> bool:
        """Whether an event is to be shown. What concerns a clinic: its own events, and rounds it was in or refused in."""
        if self.events and entry.get("event") not in self.events:
            return False
        if self.run and entry.get("run") != self.run:
            return False
        return not self.clinic or self.clinic in (
            entry.get("clinic"),
            *_names(entry.get("clinics")),
            *_names(entry.get("refused")),
        )


def _names(value: object) -> Iterable[Any]:
    return value if isinstance(value, (list, dict)) else ()


def _path(state: Path) -> Path:
    path = state / "audit.jsonl"
    if not path.exists():
        raise UserError(
            f"There is no audit log in {state}. Expected the state folder of a hub: set EMBRYOFL_STATE_DIR."
        )
    return path


def verify_log(state: Path) -> tuple[bool, str]:
    """Whether a hub's audit log is whole, and what to say about it."""
    path = _path(state)
    head = _StoredHead(state / "clinics.db")
    broken = verify(path, head)
    if broken:
        return False, f"{path} is broken at line {broken.line}: {broken.words}. The lines before it are as written."
    count = sum(1 for _ in entries(path))
    return True, f"{path} is intact: {count} lines, each fits the one before" + (
        ", and the newest is the one the hub's database knows." if head.fact("") else "."
    )


def chosen(state: Path, wanted: Filter) -> list[dict[str, Any]]:
    """The events that `wanted` takes, oldest first.

    Raises
    ------
    UserError
        When there is no log, or `since` is no date.
    """
    begin = 0.0
    if wanted.since:
        try:
            begin = datetime.datetime.fromisoformat(wanted.since).timestamp()
        except ValueError:
            raise UserError(f"{wanted.since!r} is no date. Write it as 2026-01-31 or 2026-01-31T12:00.") from None
    found = (e for e in entries(_path(state)) if wanted.takes(e) and e.get("time", 0) >= begin)
    return list(deque(found, maxlen=wanted.last or None))


def as_text(entry: dict[str, Any]) -> str:
    """One event on one line."""
    when = datetime.datetime.fromtimestamp(entry.get("time", 0)).astimezone().isoformat(" ", "seconds")
    return f"{entry['line']:>5}  {when}  {entry.get('event', '?')}  {details(entry)}".rstrip()


def details(entry: dict[str, Any]) -> str:
    """What an event says besides its kind and time, on one line."""
    return " ".join(f"{k}={_short(v)}" for k, v in entry.items() if k not in _NOT_SHOWN and v not in ("", {}, []))


def _short(value: object) -> str:
    if isinstance(value, str):
        return value if value.isprintable() and " " not in value else json.dumps(value)
    return json.dumps(value)
