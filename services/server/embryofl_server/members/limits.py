"""How often something may happen: rejected attempts by address, wrong passwords, a member's changes, lines about rejected
enrolments."""

import collections
import threading
import time
from typing import NamedTuple

REMEMBERED = 10_000  # keys, so that a flood of addresses costs no memory


class Rate(NamedTuple):
    """At most so often within `window_s` seconds."""

    most: int
    window_s: float


REJECTED = Rate(20, 60.0)  # of an address, before its further attempts are not answered with a reason
LOGINS = Rate(10, 60.0)  # wrong passwords of all people together: all come from the console's address
REFUSALS = Rate(60, 3600.0)  # audit lines about rejected enrolments
CHOICES = Rate(6, 3600.0)  # of a clinic, towards showing or releasing more metrics; a step towards less always counts
KEY_CHANGES = Rate(10, 86_400.0)  # of a clinic


class Limit:
    """Counts by key; the last `REMEMBERED` keys are remembered. Safe to use from several threads.

    Parameters
    ----------
    rate : Rate
    """

    def __init__(self, rate: Rate) -> None:
        self._rate, self._lock = rate, threading.Lock()
        self._times: collections.OrderedDict[str, collections.deque[float]] = collections.OrderedDict()

    def __len__(self) -> int:
        return len(self._times)

    def count(self, key: str) -> None:
        """It has happened."""
        with self._lock:
            self._times.setdefault(key, collections.deque(maxlen=self._rate.most)).append(time.monotonic())
            self._times.move_to_end(key)
            while len(self._times) > REMEMBERED:
                self._times.popitem(last=False)

    def reached(self, key: str) -> bool:
        """Whether it has happened as often as it may."""
        with self._lock:
            times = self._times.get(key)
            full = times is not None and len(times) == self._rate.most
            return full and time.monotonic() - self._times[key][0] < self._rate.window_s
