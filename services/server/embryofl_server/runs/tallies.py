"""What the growing files of a run add up to: its events and its metric lines, taken one by one."""

import bisect
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

from embryofl.result_charts import margin
from embryofl_server.runs.metric_labels import ALL_DAYS, POOLED, ROUND_BUCKETS_S

Line = dict[str, Any]
LAST_ROUNDS = 12  # of each clinic and run that are kept for its record
PACE_ROUNDS = 10  # newest rounds by which a run's speed is judged
MOST_OF_CLINIC = 60  # points of a clinic's course; of more, every second earlier one goes
_FAILURES = {"late": "late", "clinic_error": "failed"}  # reasons for which the hub did not reject the reply itself

Point = tuple[float | None, float | None, float]
"""AUROC, loss, and what the AUROC is known to: the half of its 95 % interval, with what grouping hides of it."""

Counts = Counter[tuple[str, ...]]
"""What is counted, with its labels: ("rounds",), ("round_seconds",), ("round_bucket", its number), ("resumptions",),
("link_losses",), ("results", clinic, result), ("reasons", clinic, reason), ("phase_seconds", clinic, phase), ("images",
clinic), ("down", clinic) and ("up", clinic), both bytes."""


@dataclass
class EventTally:
    """What `events.jsonl` adds up to."""

    counts: Counts = field(default_factory=Counter)
    rejected_at: dict[str, tuple[float, str]] = field(default_factory=dict)  # by clinic: newest Unix time and reason
    last_round: Line = field(default_factory=dict)
    rounds: deque[tuple[int, float, float]] = field(default_factory=lambda: deque(maxlen=PACE_ROUNDS))
    rejected: dict[str, dict[int, Line]] = field(default_factory=lambda: defaultdict(dict))

    def take(self, event: Line) -> None:
        """Add one event; `KeyError`, `TypeError` or `ValueError` if it is damaged."""
        kind, counts, time = event["kind"], self.counts, float(event["time"])
        if kind == "round":
            number, seconds = event["round"], event["seconds"]
            bucket = str(bisect.bisect_left(ROUND_BUCKETS_S, seconds))
            counts.update({("rounds",): 1, ("round_seconds",): seconds, ("round_bucket", bucket): 1})
            counts.update(("results", clinic, "accepted") for clinic in event["accepted"])
            counts.update({("down", clinic): size for clinic, size in event.get("control_bytes", {}).items()})
            self.last_round = event
            self.rounds.append((number, time, float(seconds)))
        elif kind == "refused":
            clinic, reason = str(event["clinic"]), str(event["reason"])
            counts.update([("results", clinic, _FAILURES.get(reason, "refused")), ("reasons", clinic, reason)])
            self.rejected_at[clinic] = (time, reason)
            result, message = "late" if reason == "late" else "refused", str(event.get("words", ""))[:300]
            _keep_newest(self.rejected[clinic], event["round"], {"result": result, "words": message})
        elif kind in ("resumed", "link_lost"):
            counts["resumptions" if kind == "resumed" else "link_losses",] += 1


@dataclass
class LineTally:
    """What `metrics.jsonl` adds up to."""

    epochs: int
    counts: Counts = field(default_factory=Counter)
    newest: dict[tuple[str, str, str], Line] = field(default_factory=dict)  # by split, clinic and day, as they came
    best: dict[tuple[str, str, str], tuple[float, int]] = field(default_factory=dict)
    points: dict[int, Point] = field(default_factory=dict)
    courses: dict[str, dict[int, Point]] = field(default_factory=lambda: defaultdict(dict))
    training_s: dict[int, float] = field(default_factory=dict)
    done: dict[str, dict[int, Line]] = field(default_factory=lambda: defaultdict(dict))

    def take(self, line: Line) -> None:
        """Add one line; raises as `EventTally.take`."""
        clinic, split, number = str(line["clinic"]), str(line["split"]), int(line["round"])
        key = (split, clinic, ALL_DAYS if line["day"] is None else str(line["day"]))
        self.newest.pop(key, None)
        self.newest[key] = line
        if split == "train":
            spent = line.get("seconds") or {}
            self.counts.update({("phase_seconds", clinic, phase): seconds for phase, seconds in spent.items()})
            self.counts["images", clinic] += line["n"] * self.epochs
            _keep_newest(self.training_s, number, max(spent.get("train", 0.0), self.training_s.get(number, 0.0)))
            _keep_newest(self.done[clinic], number, line)
            return
        auroc = line.get("auroc")
        if split == "validation" and key[2] == ALL_DAYS:
            point = (auroc, line.get("loss"), round(margin(line), 4))
            if clinic == POOLED:
                self.points[number] = point
            else:
                _keep_every_other(self.courses[clinic], number, point)
        if auroc is not None and (key not in self.best or auroc > self.best[key][0]):
            self.best[key] = (auroc, number)


def _keep_every_other(course: dict[int, Point], number: int, point: Point) -> None:
    course[number] = point
    if len(course) > MOST_OF_CLINIC:
        for earlier in list(course)[1:-1:2]:
            del course[earlier]


def _keep_newest(by_round: dict[int, Any], number: int, value: Any) -> None:
    by_round[number] = value
    if len(by_round) > LAST_ROUNDS:
        del by_round[min(by_round)]
