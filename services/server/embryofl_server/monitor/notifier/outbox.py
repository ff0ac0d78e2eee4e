"""Decides what to tell, and when: each thing once, its end once, at most a message a minute, and again after a failure."""

from collections.abc import Callable, Iterable

from embryofl.errors import UserError
from embryofl_server.monitor.notices import Notice
from embryofl_server.monitor.notifier.message import TEXTS, Message, compose
from embryofl_server.monitor.notifier.state import Key, Told

SETTLE_S = 60.0  # a condition must have held, or been over, so long
PAUSE_S, LONGEST_PAUSE_S = 60.0, 3600.0  # between two messages; doubled after each failure

Send = Callable[[Message], str]


def key_of(notice: Notice) -> Key:
    """What makes it the same as before, whatever its detail."""
    return notice.notice, notice.about


def for_good(key: Key) -> bool:
    """Whether it has no end."""
    return key[0] not in TEXTS["ended"]


class Settled:
    """What has held for a while: short interruptions of a condition or of its end change nothing.

    Parameters
    ----------
    told : iterable of Key
        What was told before a restart, and so holds until it has been over for a while.
    """

    def __init__(self, told: Iterable[Key]) -> None:
        self.notices = {key: Notice(*key) for key in told}
        self._changed: dict[Key, float] = {}

    def take(self, present: list[Notice] | None, now: float) -> dict[Key, Notice]:
        """What holds, by what the hub says now (Unix time in seconds); None: it does not respond, and nothing is known to
        have ended."""
        if present is None:
            present = [*(n for n in self.notices.values() if n.notice != "HubDown"), Notice("HubDown")]
        known = {key_of(n): n for n in present if n.notice in TEXTS["holds"]}
        different = known.keys() ^ self.notices.keys()
        self._changed = {key: min(self._changed.get(key, now), now) for key in different}
        for key, since in self._changed.items():
            if for_good(key) or now - since >= SETTLE_S:
                if key in known:
                    self.notices[key] = known[key]
                else:
                    del self.notices[key]
        self.notices |= {key: known[key] for key in known.keys() & self.notices.keys()}  # with the newest detail
        return self.notices


class Outbox:
    """One channel's messages.

    Parameters
    ----------
    told : Told
        What it told before; replaced at each change.
    send : callable
        Sends a message, and says what went wrong for some; `UserError` if for all.
    name : str
        No other outbox's, for the messages' ids.
    """

    def __init__(self, told: Told, send: Send, name: str) -> None:
        self.told, self._send, self._name = told, send, name

    def tell(self, settled: dict[Key, Notice], now: float) -> None:
        """Send what is new, if it is time. `now`: Unix time in seconds."""
        keys = self.told.keys
        if keys is None:  # runs that ended before anybody was to be told
            keys = [key for key in settled if for_good(key)]
        kept = [key for key in keys if key in settled or not for_good(key)]
        if kept != self.told.keys:
            self.told = self.told.model_copy(update={"keys": kept})
        holds = [notice for key, notice in settled.items() if key not in kept]
        ended = [Notice(*key) for key in kept if key not in settled]
        pause = min(PAUSE_S * 2**self.told.failures, LONGEST_PAUSE_S)
        if not (holds or ended):
            if self.told.failures:  # what was not told is over
                self.told = self.told.model_copy(update={"failures": 0, "words": ""})
            return
        if 0 <= now - self.told.tried < pause:
            return
        try:
            words = self._send(compose(holds, ended, f"{self._name} {self.told.number}"))
        except UserError as exc:
            failed = {"tried": now, "failures": self.told.failures + 1, "words": str(exc)[:1000]}
            self.told = self.told.model_copy(update=failed)
            return
        done = {"keys": list(settled), "number": self.told.number + 1, "tried": now, "failures": 0, "words": words}
        self.told = self.told.model_copy(update=done)
