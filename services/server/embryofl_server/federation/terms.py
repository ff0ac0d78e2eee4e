"""When a round ends: how many answers it needs, and how long it waits for the others."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from embryofl.settings import RunSettings

FIRST_DEADLINE_S = 3600.0  # of a round whose deadline is "auto" and whose clinics have not been timed yet
AUTO_TIMES, AUTO_LEAST_S = 3.0, 30.0  # so many times the usual clinic's time, and never less than this
AUTO_ROUNDS = 5  # newest rounds that are looked at
_PARTS = ("download", "evaluate", "train", "upload")


@dataclass(frozen=True)
class RoundLimits:
    """`needed` answers, by `deadline_s`, or within `grace_s` more (seconds from the round's beginning)."""

    needed: int
    deadline_s: float
    grace_s: float

    @property
    def end_s(self) -> float:
        """The last moment, in seconds from the round's beginning."""
        return self.deadline_s + self.grace_s


def answers_needed(quorum: float, min_clinics: int, asked: int) -> int:
    """How many answers a round needs of so many clinics asked."""
    if quorum == 0:
        return min(min_clinics, asked)
    if quorum < 1:
        return max(1, -int(-quorum * asked // 1))
    return int(quorum)


def round_limits(settings: RunSettings, asked: int, least: int, records: Iterable[Mapping[str, Any]]) -> RoundLimits:
    """The terms of a round.

    Parameters
    ----------
    settings : RunSettings
    asked : int
        Clinics asked.
    least : int
        Fewer answers than this the strategy does not aggregate.
    records : iterable of dict
        Records of the newest rounds (see `checkpoint`), which say how long each clinic took.
    """
    needed = max(least, answers_needed(settings.quorum, settings.min_clinics, asked))
    return RoundLimits(needed, deadline_seconds(settings, records), settings.grace_s)


def deadline_seconds(settings: RunSettings, records: Iterable[Mapping[str, Any]]) -> float:
    """The deadline set, or for "auto" `AUTO_TIMES` the time of the clinic in the middle.

    The middle and not the mean: neither one slow clinic nor one that lies about its time moves it.
    """
    if settings.round_deadline_s != "auto":
        return settings.round_deadline_s
    taken: dict[str, list[float]] = {}
    for record in records:
        for name, clinic in record.get("clinics", {}).items():
            seconds = clinic.get("seconds") or {}
            if seconds:
                taken.setdefault(name, []).append(sum(seconds.get(part, 0.0) for part in _PARTS))
    if not taken:
        return FIRST_DEADLINE_S
    usual = statistics.median(statistics.median(times) for times in taken.values())
    return max(AUTO_LEAST_S, round(AUTO_TIMES * usual, 1))
