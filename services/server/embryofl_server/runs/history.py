"""What the run store says, added up for the exporter: counters over all runs, and the newest figures of the newest.

Nothing is kept here that the store does not have, so a restart of the hub changes no number. Files are read bit by bit
and runs that are over are not looked at again.
"""

import bisect
import contextlib
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embryofl.messages import RunSettings
from embryofl.metric_names import POOLED, ROUND_BUCKETS_S
from embryofl.metrics import ScoreSums, merge
from embryofl_server.runs.jsonlines import JsonLines
from embryofl_server.runs.log import OVER, Run, Runs

Line = dict[str, Any]
_FAILURES = {"late": "late", "clinic_error": "failed"}  # reasons that are no refusal of ours


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
        self.rounds += other.rounds
        self.round_seconds += other.round_seconds
        self.round_buckets = [a + b for a, b in zip(self.round_buckets, other.round_buckets, strict=True)]
        self.resumptions += other.resumptions
        self.link_losses += other.link_losses
        for name in ("results", "reasons", "phase_seconds", "images", "down", "up"):
            mine: Counter[Any] = getattr(self, name)
            for key, value in getattr(other, name).items():
                mine[key] += value
        self.refused_at.update(other.refused_at)


class RunHistory:
    """One run's files, read as they grow.

    Attributes
    ----------
    totals : Totals
    train : dict of str to dict
        Newest training line of each clinic (see `results`).
    quality : dict of (split, clinic, day) to dict
        Newest metric line; `day` is "all" or a number as text.
    best : dict of (split, clinic, day) to (float, int)
        Highest AUROC and the round of the model that had it.
    record : dict
        The newest round's record (see `checkpoint`).
    sums : dict of str to dict of str to ScoreSums
        By split and clinic (and pooled): of the newest model that was evaluated.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.settings: RunSettings = run.settings
        self.started = (run.folder / "settings.json").stat().st_mtime
        self._events, self._metrics = JsonLines(run.folder / "events.jsonl"), JsonLines(run.folder / "metrics.jsonl")
        self._from_events, self._from_metrics = Totals(), Totals()
        self.state: Line = {}
        self.record: Line = {}
        self.train: dict[str, Line] = {}
        self.quality: dict[tuple[str, str, str], Line] = {}
        self.best: dict[tuple[str, str, str], tuple[float, int]] = {}
        self.sums: dict[str, dict[str, ScoreSums]] = {}
        self.last_round: Line = {}  # the event
        self.last_event = 0.0
        self.version = 0  # raised by every change
        self._record_file: tuple[str, int] | None = None
        self._tested: set[str] = set()

    @property
    def totals(self) -> Totals:
        """Counts so far."""
        total = Totals()
        total.add(self._from_events)
        total.add(self._from_metrics)
        size = int(self.record.get("size", 0))
        for (clinic, result), count in self._from_events.results.items():
            if result == "accepted":
                total.up[clinic] += count * size
                total.down[clinic] += (count + (clinic in self._tested)) * size
        return total

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.state.get("state") in OVER

    def refresh(self) -> None:
        """Read what is new."""
        before = self.state
        self.state = self.run.state
        anew, events = self._events.read()
        if anew:
            self._from_events = Totals()
        for event in events:
            with contextlib.suppress(KeyError, TypeError, ValueError):  # a line of another version
                self._take_event(event)
        anew_metrics, lines = self._metrics.read()
        if anew_metrics:
            self._from_metrics, self.train, self.quality, self.best, self._tested = Totals(), {}, {}, {}, set()
        for line in lines:
            with contextlib.suppress(KeyError, TypeError, ValueError):
                self._take_line(line)
        if events or anew or not self._record_file:
            self._read_record()
            self._read_sums()
        if events or lines or anew or anew_metrics or before != self.state:
            self.version += 1

    def _take_event(self, event: Line) -> None:
        kind, totals = event.get("kind"), self._from_events
        self.last_event = float(event.get("time", 0.0))
        if kind == "round":
            seconds = float(event["seconds"])
            totals.rounds += 1
            totals.round_seconds += seconds
            totals.round_buckets[bisect.bisect_left(ROUND_BUCKETS_S, seconds)] += 1
            totals.results.update((clinic, "accepted") for clinic in event["accepted"])
            totals.down.update(event.get("control_bytes", {}))
            self.last_round = event
        elif kind == "refused":
            clinic, reason = str(event["clinic"]), str(event["reason"])
            totals.results[clinic, _FAILURES.get(reason, "refused")] += 1
            totals.reasons[clinic, reason] += 1
            totals.refused_at[clinic] = (self.last_event, reason)
        elif kind == "resumed":
            totals.resumptions += 1
        elif kind == "link_lost":
            totals.link_losses += 1

    def _take_line(self, line: Line) -> None:
        clinic, split = str(line["clinic"]), str(line["split"])
        if split == "train":
            self.train[clinic] = line
            for phase, seconds in (line.get("seconds") or {}).items():
                self._from_metrics.phase_seconds[clinic, phase] += seconds
            self._from_metrics.images[clinic] += line["n"] * self.settings.local_epochs
            return
        key = (split, clinic, "all" if line["day"] is None else str(line["day"]))
        self.quality[key] = line
        if split == "test":
            self._tested.add(clinic)
        auroc = line.get("auroc")
        if auroc is not None and (key not in self.best or auroc > self.best[key][0]):
            self.best[key] = (auroc, line["round"])

    def _read_record(self) -> None:
        paths = sorted(self.run.folder.glob("round-*.json"))
        if not paths:
            return
        key = (paths[-1].name, paths[-1].stat().st_mtime_ns)
        if key == self._record_file:
            return
        try:
            record = json.loads(paths[-1].read_text())
        except ValueError:
            return
        record["written"] = paths[-1].stat().st_mtime
        self.record, self._record_file = record, key

    def _read_sums(self) -> None:
        """Score sums of the newest model that was evaluated: the final one, else the one before the newest round."""
        clinics: dict[str, Any] = self.record.get("clinics", {})
        with contextlib.suppress(OSError, ValueError, KeyError):
            clinics = json.loads((self.run.folder / "model.json").read_text())["evaluation"] or clinics
        found: dict[str, dict[str, ScoreSums]] = {}
        for split in ("validation", "test"):
            for name, entry in clinics.items():
                with contextlib.suppress(ValueError):
                    if entry.get(split):
                        found.setdefault(split, {})[name] = ScoreSums.from_dict(entry[split])
        for by_clinic in found.values():
            by_clinic[POOLED] = merge(by_clinic.values())
        if found:  # the record of round 0 has none
            self.sums = found


class History:
    """All runs of a hub, and its audit log.

    Parameters
    ----------
    runs : Runs
    audit : Path
        `audit.jsonl`.
    """

    def __init__(self, runs: Runs, audit: Path) -> None:
        self._runs, self._audit = runs, JsonLines(audit)
        self._known: dict[str, RunHistory] = {}
        self.starts, self.started = 0, 0.0

    def refresh(self) -> None:
        """Read what is new."""
        anew, lines = self._audit.read()
        if anew:
            self.starts = 0
        for line in lines:
            if line.get("event") == "hub_started":
                self.starts += 1
                self.started = float(line["time"])
        runs = {run.name: run for run in self._runs.all()}
        for name in set(self._known) - set(runs):
            del self._known[name]
        for name, run in runs.items():
            found = self._known.get(name)
            if found is None:
                found = self._known[name] = RunHistory(run)
            if not found.over or run is list(runs.values())[-1]:
                found.refresh()

    @property
    def runs(self) -> list[RunHistory]:
        """Oldest first."""
        return [self._known[name] for name in sorted(self._known)]

    @property
    def latest(self) -> RunHistory | None:
        """The run that is conducted, else the newest."""
        runs = self.runs
        return next(
            (r for r in runs if r.state.get("state") not in (*OVER, "paused", None)), runs[-1] if runs else None
        )

    def totals(self) -> Totals:
        """Counts over all runs."""
        total = Totals()
        for run in self.runs:
            total.add(run.totals)
        return total

    def version(self) -> tuple[tuple[str, int], ...]:
        """Changes whenever a number of the store does."""
        return tuple((r.run.name, r.version) for r in self.runs)
