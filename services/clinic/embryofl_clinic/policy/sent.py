"""What this clinic has sent to its hub: a small log in the state folder, for the clinic itself (`sent.jsonl`).

A line for every upload, reply and enrolment, with its kind and size, never its content.
"""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

from pydantic import ValidationError

from embryofl.errors import UserError
from embryofl.files import in_turn, write_atomic
from embryofl.messages import Reply
from embryofl.schema import Strict

log = logging.getLogger("embryofl.sent")

FILE = "sent.jsonl"
MOST = 2000
"""Lines to keep, the newest: 300 kB, more rounds than most runs have."""

Kind = Literal["enrolment", "update", "metrics", "answer", "failure", "leaving", "key"]
Part = Literal[
    "validation",
    "test",
    "personal",
    "grades",
    "audit",
    "examples",
    "train_loss",
    "refused",
    "seconds",
    "device",
    "memory_bytes",
    "reconnects",
    "masking",
]
FRAME = ("protocol", "kind", "run", "round", "layout", "update")
"""The rest of a reply: the request it belongs to, and size and SHA-256 of the update, which has its own line."""


class Sent(Strict):
    """One thing that was sent.

    Attributes
    ----------
    time : float
        Unix time in seconds.
    kind : str
        An enrolment (name, key, counts), an update (weights), histograms under masks (`metrics`), a reply
        (`answer`: sums), a failure (the type of an error), leaving, or a new public key.
    bytes : int
        Size of the content, without what the network adds.
    run, round : str, int
        "" and 0 if it belongs to none.
    holds : tuple of str
        Of a reply: which of its fields were filled in.
    """

    time: float
    kind: Kind
    bytes: int
    run: str = ""
    round: int = 0
    holds: tuple[Part, ...] = ()


class SentLog:
    """Writes and reads the log. Processes of one clinic take turns; a full disk loses lines and nothing else.

    Parameters
    ----------
    state_dir : Path
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE

    def note(self, kind: Kind, size: int, run: str = "", round_: int = 0, holds: tuple[Part, ...] = ()) -> None:
        """Add a line. Never raises: sending does not depend on the record of it."""
        line = Sent(time=time.time(), kind=kind, bytes=size, run=run, round=round_, holds=holds)
        try:
            with in_turn(self._path):
                lines = [*self._lines(), line.model_dump_json()][-MOST:]
                write_atomic(self._path, ("\n".join(lines) + "\n").encode(), 0o600)
        except (OSError, UserError) as exc:
            log.error("the record of what was sent cannot be written (%s)", exc)

    def note_reply(self, reply: Reply, text: str) -> None:
        """Add a reply."""
        holds: list[Part] = [p for p in get_args(Part) if getattr(reply, p) not in (None, "", 0, {})]
        self.note("answer", len(text.encode()), reply.run, reply.round, tuple(holds))

    def read(self) -> list[Sent]:
        """All lines, oldest first; damaged ones are skipped."""
        lines = []
        for line in self._lines():
            with suppress(ValidationError):
                lines.append(Sent.model_validate_json(line))
        return lines

    def _lines(self) -> list[str]:
        try:
            return self._path.read_text("utf-8", "replace").splitlines()
        except OSError:
            return []


def by_round(lines: Sequence[Sent]) -> list[list[Sent]]:
    """Lines grouped by run and round, each line without a run on its own; the newest first."""
    groups: dict[object, list[Sent]] = {}
    for number, line in enumerate(lines):
        groups.setdefault((line.run, line.round) if line.run else number, []).append(line)
    return sorted(groups.values(), key=lambda group: group[-1].time, reverse=True)


def by_run(lines: Sequence[Sent]) -> dict[str, int]:
    """Bytes by run, the newest first; "" for lines without a run."""
    totals: Counter[str] = Counter()
    for line in reversed(lines):
        totals[line.run] += line.bytes
    return totals
