"""Reads the audit log in a hub's state folder, whether the hub is running or not."""

import contextlib
import datetime
import json
import re
import sqlite3
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from embryofl.errors import UserError, with_code
from embryofl_server.audit.log import HEAD, entries, verify

_NOT_SHOWN = ("line", "time", "event", "previous", "signature")
_HEAD = re.compile(r"\d{1,12} [0-9a-f]{64}")


@dataclass(frozen=True)
class Filter:
    """What to show: kinds of event, a clinic, a run, a start time (ISO 8601), and only the newest `last` (0 = all)."""

    events: tuple[str, ...] = ()
    clinic: str = ""
    run: str = ""
    since: str = ""
    last: int = 0

    def matches(self, entry: dict[str, Any]) -> bool:
        """Whether to show an event. A clinic's events: its own, and rounds it was in or excluded from."""
        clinics = (entry.get("clinic"), *_names(entry.get("clinics")), *_names(entry.get("refused")))
        return (
            (not self.events or entry.get("event") in self.events)
            and (not self.run or entry.get("run") == self.run)
            and (not self.clinic or self.clinic in clinics)
        )


def _names(value: object) -> Iterable[Any]:
    return value if isinstance(value, (list, dict)) else ()


def _path(state: Path) -> Path:
    path = state / "audit.jsonl"
    if not path.exists():
        raise UserError(
            "H3", f"There is no audit log in {state}. Expected the state folder of a hub. Set EMBRYOFL_STATE_DIR to it."
        )
    return path


def _stored_head(database: Path) -> str:
    """The head in the database, opened read-only; "" if there is none."""
    try:
        with contextlib.closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as db:
            row = db.execute("SELECT value FROM facts WHERE name = ?", (HEAD,)).fetchone()
    except sqlite3.Error:
        return ""
    return str(row[0]) if row else ""


def head_of(state: Path) -> str:
    """Number of lines, and the hash of the last, to be kept elsewhere.

    Raises
    ------
    UserError
        If there is no log.
    """
    _path(state)
    return _stored_head(state / "clinics.db")


def read_anchor(text: str, name: str) -> list[str]:
    """The heads in a file that was kept elsewhere, one a line.

    Raises
    ------
    UserError
        If a line is not a head, or there is none.
    """
    heads = [line.strip() for line in text.splitlines() if line.strip()]
    wrong = next((line for line in heads if not _HEAD.fullmatch(line)), None)
    if wrong is not None or not heads:
        raise UserError(
            "S7",
            f"{name} is not an anchor of the audit log ({wrong or 'empty'!r:.80}). Expected lines as `audit head` prints "
            "them. Name the file that they were kept in.",
        )
    return heads


def verify_log(state: Path, anchors: Iterable[str] = ()) -> tuple[bool, str]:
    """Whether a hub's audit log is intact, and the text that says so, with every place where it is not."""
    path, head, anchors = _path(state), _stored_head(state / "clinics.db"), list(anchors)
    key = Ed25519PublicKey.from_public_bytes((state / "identity" / "audit.pub").read_bytes())
    if breaks := verify(path, head, key, anchors):
        first = min(broken.line for broken in breaks)
        places = "\n".join(f"{path} is broken at line {b.line}: {b.message}." for b in breaks)
        return False, with_code("H8", f"{places}\nThe lines before line {first} are intact.")
    text = f"{path.name} is intact: {sum(1 for _ in entries(path))} lines, each signed and fitting the one before"
    kept = [*(["the newest is the one recorded in the hub's database"] if head else [])]
    kept += [f"{len(anchors)} are those of the anchor"] if anchors else []
    return True, ", and ".join([text, *kept]) + "."


def select_events(state: Path, selection: Filter) -> list[dict[str, Any]]:
    """The events that match `selection`, oldest first.

    Raises
    ------
    UserError
        If there is no log, or `since` is not a date.
    """
    begin = 0.0
    if selection.since:
        try:
            begin = datetime.datetime.fromisoformat(selection.since).timestamp()
        except ValueError:
            raise UserError(
                "S7", f"{selection.since!r} is not a date. Write it as 2026-01-31 or 2026-01-31T12:00."
            ) from None
    events = (e for e in entries(_path(state)) if selection.matches(e) and e.get("time", 0) >= begin)
    return list(deque(events, maxlen=selection.last or None))


def format_event(entry: dict[str, Any]) -> str:
    """One event on one line."""
    when = datetime.datetime.fromtimestamp(entry.get("time", 0)).astimezone().isoformat(" ", "seconds")
    return f"{entry['line']:>5}  {when}  {entry.get('event', '?')}  {format_details(entry)}".rstrip()


def format_details(entry: dict[str, Any]) -> str:
    """An event's details besides kind and time, on one line."""
    return " ".join(
        f"{k}={_format_value(v)}" for k, v in entry.items() if k not in _NOT_SHOWN and v not in ("", {}, [])
    )


def _format_value(value: object) -> str:
    plain = isinstance(value, str) and value.isprintable() and " " not in value
    return str(value) if plain else json.dumps(value)
