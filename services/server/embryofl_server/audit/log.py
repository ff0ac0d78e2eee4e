"""The audit log: one signed JSON line per event, each with the hash of the line before, so that any change is detected.

Only the server has the key, so nobody else can write a line, whoever can write the file. A log that is cut off at its end
is still a valid chain. Its head, the number of lines and the hash of the last one, is therefore kept outside as well: in
the hub's database, and, if the hub is set so, in a file at another place (the anchor).
"""

import base64
import hashlib
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from embryofl.files import write_atomic
from embryofl_server.state.database import Database

log = logging.getLogger("embryofl.audit")

HEAD = "audit_head"
"""Name of the fact that holds the head: "" or number of lines and hash of the last."""
DAMAGED, FOREIGN = "audit_damaged", "audit_foreign"
NEWEST = 5
"""Entries that `AuditLog.newest` holds."""
_START = "0" * 64
_SIGNATURE = b', "signature": "'
_NOT_OURS = "the line is not signed by this hub: it was changed, or somebody else wrote it"


@dataclass(frozen=True)
class Break:
    """Where a log is broken: the number of the first line (from 1) that cannot be trusted, and why.

    `recorded`: found at an earlier start of the hub, as a line of the log says.
    """

    line: int
    message: str
    recorded: bool = False


class AuditLog:
    """Append-only `audit.jsonl`.

    Lines at the end that the database does not know of are kept if they are signed, as the hub may have been killed between
    writing a line and the head. Others are an incident: they are moved to a file of their own, and the log says so.

    Attributes
    ----------
    newest : tuple of dict
        The newest entries, oldest first.

    Parameters
    ----------
    path : Path
    database : Database
        Keeps the head.
    key : bytes
        Ed25519, 32 bytes; signs the lines.
    anchor : Path, optional
        Each new head is appended to this file as well.
    """

    def __init__(self, path: Path, database: Database, key: bytes, anchor: Path | None = None) -> None:
        self._path, self._database, self._anchor, self._lock = path, database, anchor, threading.Lock()
        self._key = Ed25519PrivateKey.from_private_bytes(key)
        self._drop_torn_line()
        foreign = self._set_apart()
        self._lines, self._last = 0, _START
        breaks = verify(path, database.fact(HEAD), self._key.public_key())
        for _, line in _lines(path):
            self._lines, self._last = self._lines + 1, _hash(line)
        self.newest: tuple[dict[str, Any], ...] = tuple(deque(entries(path), maxlen=NEWEST))
        if foreign:
            log.error("the audit log had lines at its end that are not the hub's: %s", foreign)
            self.write(FOREIGN, **foreign)
        recorded = {(e.get("line_broken"), e.get("words")) for e in entries(path) if e.get("event") == DAMAGED}
        for broken in breaks:
            if not broken.recorded and (broken.line, broken.message) not in recorded:
                log.error("the audit log is broken at line %d: %s", broken.line, broken.message)
                self.write(DAMAGED, line_broken=broken.line, words=broken.message)

    def _drop_torn_line(self) -> None:
        """Drop a line that a power failure cut off: it never counted."""
        data = self._path.read_bytes() if self._path.exists() else b""
        if data and not data.endswith(b"\n"):
            os.truncate(self._path, data.rfind(b"\n") + 1)

    def _set_apart(self) -> dict[str, Any]:
        """Move what is behind the known head and not the hub's to a file of its own; returns what the log is to say."""
        known = int(self._database.fact(HEAD).partition(" ")[0] or 0)
        last, ours, lines = _START, 0, list(_lines(self._path))
        for number, line in lines:
            entry = _read(line, self._key.public_key())
            if number > known and (entry is None or entry["previous"] != last):
                break
            last, ours = _hash(line), number
        foreign = [line + b"\n" for number, line in lines[ours:]]
        if not foreign:
            return {}
        apart = self._path.with_name(f"audit-incident-{time.time_ns()}.jsonl")
        write_atomic(apart, b"".join(foreign), mode=0o600)
        os.truncate(self._path, sum(len(line) + 1 for _, line in lines[:ours]))
        return {"line_broken": ours + 1, "lines": len(foreign), "file": apart.name}

    def write(self, event: str, **details: Any) -> None:
        """Append an event; details are JSON values that name no patient and no file of a clinic."""
        with self._lock:
            entry = {"time": round(time.time(), 3), "event": event, **details, "previous": self._last}
            body = json.dumps(entry).encode()
            line = body[:-1] + _SIGNATURE + base64.b64encode(self._key.sign(body)) + b'"}'
            with self._path.open("ab") as file:
                file.write(line + b"\n")
                file.flush()
                os.fsync(file.fileno())
            self._lines, self._last = self._lines + 1, _hash(line)
            self.newest = (*self.newest, entry)[-NEWEST:]
            head = f"{self._lines} {self._last}"
            self._database.set_fact(HEAD, head)
            if self._anchor:
                _append_to_anchor(self._anchor, head)


def _append_to_anchor(anchor: Path, head: str) -> None:
    try:
        with anchor.open("a") as file:
            file.write(head + "\n")
    except OSError as error:  # another machine's disk must not stop the hub; `verify` needs no anchor for every line
        log.error("the head of the audit log cannot be written to %s: %s", anchor, error.strerror)


def verify(path: Path, head: str, key: Ed25519PublicKey, anchors: Iterable[str] = ()) -> list[Break]:
    """All places where the log is broken; none if it is intact.

    Parameters
    ----------
    head : str
        As the hub's database has it.
    key : Ed25519PublicKey
        Of the hub, for the lines' signatures.
    anchors : iterable of str
        Heads of earlier that were kept elsewhere: number of lines, a space, and the hash of the last.
    """
    heads = [(head, "the hub's database")] if head else []
    heads += [(anchor, "the anchor") for anchor in anchors]
    known = [(int(count), digest, where) for text, where in heads for count, _, digest in [text.partition(" ")]]
    breaks: list[Break] = []
    recorded: list[Break] = []
    last, number, sound = _START, 0, True
    for number, line in _lines(path):
        entry = _read(line, key)
        if entry is None:
            breaks.append(Break(number, _NOT_OURS))
        elif sound and entry["previous"] != last:  # behind a broken line it cannot fit
            breaks.append(Break(number, "it does not fit the line before: lines were removed, inserted or moved"))
        sound, last = entry is not None, _hash(line)
        wrong = [where for count, digest, where in known if count == number and digest != last]
        if wrong and entry is not None:
            breaks.append(Break(number, f"it is not the line that {wrong[0]} has recorded"))
        if entry and entry.get("event") in (DAMAGED, FOREIGN):
            what = (
                entry.get("words") or f"{entry.get('lines')} lines that were not the hub's, now in {entry.get('file')}"
            )
            at = f"found at a start of the hub (line {number}): {what}"
            recorded.append(Break(int(entry.get("line_broken", number)), at, recorded=True))
    if missing := max((k for k in known if k[0] > number), default=None):
        text = f"the log ends after {number} lines; {missing[2]} has recorded {missing[0]}"
        breaks.append(Break(number + 1, text))
    still = {(b.line, b.message) for b in breaks}
    return breaks + [b for b in recorded if (b.line, b.message.partition("): ")[2]) not in still]


def _read(line: bytes, key: Ed25519PublicKey) -> dict[str, Any] | None:
    """The event of a line that the key has signed; None of any other."""
    body, _, signature = line.rpartition(_SIGNATURE)
    try:
        key.verify(base64.b64decode(signature.removesuffix(b'"}'), validate=True), body + b"}")
    except (InvalidSignature, ValueError):
        return None
    entry: dict[str, Any] = json.loads(body + b"}")
    return entry


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
