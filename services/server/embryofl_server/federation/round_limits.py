"""When a round ends: its quorum, its deadline, and the grace period after it."""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from embryofl.settings import RunSettings

FIRST_DEADLINE_S = 3600.0  # of a round whose deadline is "auto" before any clinic has been timed
AUTO_TIMES, AUTO_LEAST_S = 3.0, 30.0  # multiple of the median clinic's time, and the shortest deadline
AUTO_ROUNDS = 5  # newest rounds that count
_PARTS = ("download", "evaluate", "train", "upload")


@dataclass(frozen=True)
class RoundLimits:
    """A round ends when all clinics have replied; at `deadline_s` if `quorum` of them have; or up to `grace_s` later, as
    soon as the quorum has. Seconds from the start of the round. `shown_s`: the deadline that people are shown, where that
    of a step within the round is shorter."""

    quorum: int
    deadline_s: float
    grace_s: float
    shown_s: float = 0.0

    def with_quorum(self, quorum: int) -> "RoundLimits":
        """The same with this quorum."""
        return replace(self, quorum=quorum)

    def at_most(self, quorum: int) -> "RoundLimits":
        """The same with no higher quorum."""
        return self.with_quorum(min(self.quorum, quorum))

    @property
    def due_s(self) -> float:
        """The deadline that people are shown."""
        return self.shown_s or self.deadline_s

    @property
    def end_s(self) -> float:
        """The end of the grace period, in seconds from the start of the round."""
        return self.deadline_s + self.grace_s


def quorum_of(settings: RunSettings, asked: int) -> int:
    """Replies needed from this many clinics asked (`RunSettings.quorum`)."""
    if settings.quorum == 0:
        return min(settings.min_clinics, asked)
    if settings.quorum < 1:
        return max(1, math.ceil(settings.quorum * asked))
    return int(settings.quorum)


def round_limits(
    settings: RunSettings, asked: int, min_updates: int, records: Iterable[Mapping[str, Any]]
) -> RoundLimits:
    """The limits of a round.

    Parameters
    ----------
    settings : RunSettings
    asked : int
        Clinics asked.
    min_updates : int
        Fewest updates that the strategy aggregates.
    records : iterable of dict
        Records of the newest rounds (see `checkpoint`), with the clinics' times.
    """
    quorum = max(min_updates, quorum_of(settings, asked))
    return RoundLimits(quorum, deadline_seconds(settings, records), settings.grace_s)


def deadline_seconds(settings: RunSettings, records: Iterable[Mapping[str, Any]]) -> float:
    """The deadline set, or for "auto" `AUTO_TIMES` the median clinic's time.

    The median and not the mean: neither one slow clinic nor one that reports a wrong time moves it.
    """
    if settings.round_deadline_s != "auto":
        return settings.round_deadline_s
    times: dict[str, list[float]] = {}
    for record in records:
        for name, clinic in record.get("clinics", {}).items():
            seconds = clinic.get("seconds") or {}
            if seconds:
                times.setdefault(name, []).append(sum(seconds.get(part, 0.0) for part in _PARTS))
    if not times:
        return FIRST_DEADLINE_S
    median = statistics.median(map(statistics.median, times.values()))
    return max(AUTO_LEAST_S, round(AUTO_TIMES * median, 1))
