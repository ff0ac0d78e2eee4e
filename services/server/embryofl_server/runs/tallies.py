"""What the growing files of a run add up to: its events and its metric lines, taken one by one."""

import bisect
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

from embryofl.metric_names import ALL_DAYS, POOLED, ROUND_BUCKETS_S

Line = dict[str, Any]
LAST_ROUNDS = 12  # of each clinic and run that are kept for its record
PACE_ROUNDS = 10  # newest rounds by which a run's speed is judged
_FAILURES = {"late": "late", "clinic_error": "failed"}  # reasons for which the hub did not reject the reply itself


@dataclass
class Totals:
    """Counters of one run, or of several. Keys: clinic, or (clinic, second label)."""

    rounds: int = 0
    round_seconds: float = 0.0
    round_buckets: list[int] = field(default_factory=lambda: [0] * (len(ROUND_BUCKETS_S) + 1))
    resumptions: int = 0
    link_losses: int = 0
    results: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused_at: dict[str, tuple[float, str]] = field(default_factory=dict)
    phase_seconds: Counter[tuple[str, str]] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)
    down: Counter[str] = field(default_factory=Counter)
    up: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Totals") -> None:
        """Add another's counts."""
        self.round_buckets = [a + b for a, b in zip(self.round_buckets, other.round_buckets, strict=True)]
        for name in ("rounds", "round_seconds", "resumptions", "link_losses"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("results", "reasons", "phase_seconds", "images", "down", "up"):
            mine: Counter[Any] = getattr(self, name)
            for key, value in getattr(other, name).items():  # `update` would drop none, `+` those that are 0
                mine[key] += value
        self.refused_at.update(other.refused_at)


@dataclass
class EventTally:
    """What `events.jsonl` says."""

    totals: Totals = field(default_factory=Totals)
    last_round: Line = field(default_factory=dict)
    rounds: deque[tuple[int, float, float]] = field(default_factory=lambda: deque(maxlen=PACE_ROUNDS))
    refused: dict[str, dict[int, Line]] = field(default_factory=lambda: defaultdict(dict))

    def take(self, event: Line) -> None:
        """Add one event; `KeyError`, `TypeError` or `ValueError` if it is damaged."""
        kind, totals, time = event["kind"], self.totals, float(event["time"])
        if kind == "round":
            seconds = float(event["seconds"])
            totals.rounds += 1
            totals.round_seconds += seconds
            totals.round_buckets[bisect.bisect_left(ROUND_BUCKETS_S, seconds)] += 1
            totals.results.update((clinic, "accepted") for clinic in event["accepted"])
            totals.down.update(event.get("control_bytes", {}))
            self.last_round = event
            self.rounds.append((event["round"], time, seconds))
        elif kind == "refused":
            clinic, reason = str(event["clinic"]), str(event["reason"])
            totals.results[clinic, _FAILURES.get(reason, "refused")] += 1
            totals.reasons[clinic, reason] += 1
            totals.refused_at[clinic] = (time, reason)
            result, words = "late" if reason == "late" else "refused", str(event.get("words", ""))[:300]
            _keep_newest(self.refused[clinic], event["round"], {"result": result, "words": words})
        elif kind == "resumed":
            totals.resumptions += 1
        elif kind == "link_lost":
            totals.link_losses += 1


@dataclass
class LineTally:
    """What `metrics.jsonl` says."""

    epochs: int
    totals: Totals = field(default_factory=Totals)
    newest: dict[tuple[str, str, str], Line] = field(default_factory=dict)  # by split, clinic and day, as they came
    best: dict[tuple[str, str, str], tuple[float, int]] = field(default_factory=dict)
    points: dict[int, tuple[float | None, float | None]] = field(default_factory=dict)
    training_s: dict[int, float] = field(default_factory=dict)
    done: dict[str, dict[int, Line]] = field(default_factory=lambda: defaultdict(dict))

    def take(self, line: Line) -> None:
        """Add one line; raises as `EventTally.take`."""
        clinic, split, number = str(line["clinic"]), str(line["split"]), int(line["round"])
        key = (split, clinic, ALL_DAYS if line["day"] is None else str(line["day"]))
        self.newest.pop(key, None)
        self.newest[key] = line
        if split == "train":
            spent: dict[str, float] = line.get("seconds") or {}
            self.totals.phase_seconds.update({(clinic, phase): seconds for phase, seconds in spent.items()})
            self.totals.images[clinic] += line["n"] * self.epochs
            slowest = max(spent.get("train", 0.0), self.training_s.get(number, 0.0))
            _keep_newest(self.training_s, number, slowest)
            _keep_newest(self.done[clinic], number, line)
            return
        auroc = line.get("auroc")
        if key == ("validation", POOLED, ALL_DAYS):
            self.points[number] = (auroc, line.get("loss"))
        if auroc is not None and (key not in self.best or auroc > self.best[key][0]):
            self.best[key] = (auroc, number)


def _keep_newest(by_round: dict[int, Any], number: int, value: Any) -> None:
    by_round[number] = value
    if len(by_round) > LAST_ROUNDS:
        del by_round[min(by_round)]
