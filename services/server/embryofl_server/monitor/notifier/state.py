"""What the notifier has told and what failed: one small JSON file without secrets, which the hub reads."""

import time
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from embryofl.errors import with_code
from embryofl.schema import Strict

FRESH_S = 120.0  # the notifier touches its file every few seconds; an older one is of a process that has ended
Key = tuple[str, str]
"""Of a notice: what holds, and what it is about."""


class Told(Strict):
    """What one channel has told.

    Attributes
    ----------
    keys : list of Key or None
        What holds, or has ended for good, and was told; None before the hub has first been asked.
    number : int
        Messages that were sent.
    tried : float
        Unix time of the newest attempt; 0 = none.
    failures : int
        Attempts in a row that failed.
    words : str
        What went wrong with the newest one.
    """

    keys: list[Key] | None = None
    number: int = Field(default=0, ge=0)
    tried: float = 0.0
    failures: int = Field(default=0, ge=0)
    words: str = Field(default="", max_length=1000)


class NotifierState(Strict):
    """The whole file: by channel, and an id that no other notifier has."""

    id: str
    hub: str = ""  # why the hub cannot be asked
    channels: dict[str, Told] = {}


def read_state(path: Path) -> NotifierState | None:
    """The state in a file; None if there is none, or it cannot be read."""
    try:
        return NotifierState.model_validate_json(path.read_text())
    except (OSError, ValidationError):
        return None


def notifier_status(path: Path | None) -> dict[str, Any] | None:
    """For the hub's status: `up`, and `words` for what is wrong; None = nobody is to be notified."""
    if path is None:
        return None
    state = read_state(path)
    if state is None:
        return {"up": False, "words": with_code("H14", "The notifier has not been started yet.")}
    try:
        running = time.time() - path.stat().st_mtime <= FRESH_S
    except FileNotFoundError:
        running = False
    trouble = [state.hub, *(told.words for told in state.channels.values())]
    words = " ".join(filter(None, trouble)) if running else "The notifier is not running."
    return {"up": not words, "words": with_code("H14", words) if words else ""}
