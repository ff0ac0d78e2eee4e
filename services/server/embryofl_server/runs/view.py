"""What a run's folder holds: the only reader of the files that `log` and the checkpoints write.

Exporter, control API, console, command line and model card read a run through its `RunView`. Nothing is kept here that
the files do not have, so a restart of the hub changes no number. Growing files are read bit by bit.
"""

import contextlib
import json
import statistics
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from embryofl.metrics import ScoreSums, merge
from embryofl.states import OVER
from embryofl_server.runs.evaluation import TOGETHER, evaluation_of, released_sums
from embryofl_server.runs.jsonlines import JsonLines
from embryofl_server.runs.log import Run, Runs
from embryofl_server.runs.metric_labels import ALL_DAYS, POOLED
from embryofl_server.runs.metric_lines import Best
from embryofl_server.runs.tallies import LAST_ROUNDS, PACE_ROUNDS, Counts, EventTally, Line, LineTally

MOST_POINTS = 300
T = TypeVar("T")


@dataclass(frozen=True)
class Pace:
    """How fast rounds were: how many count, the median seconds of a round and of its slowest clinic's training, and when
    the newest was over (Unix time)."""

    rounds: int
    round_s: float
    training_s: float
    last: float


class RunView:
    """One run's files, read as they grow. Safe across threads: what it returns is never changed again.

    Attributes
    ----------
    started : float
        Unix time at which it was made.
    note : str
        What the coordinator has noted.
    state : dict
        As of the last `refresh`: see `Run.state`.
    version : int
        Raised by every change.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.settings = run, run.settings
        self.started = (run.folder / "settings.json").stat().st_mtime
        self.state: Line = {}
        note = run.folder / "note.txt"
        self.note = note.read_text("utf-8") if note.exists() else ""
        self.version = 0
        self._lock = threading.RLock()
        self._event_file = JsonLines(run.folder / "events.jsonl")
        self._line_file = JsonLines(run.folder / "metrics.jsonl")
        self._events, self._lines = EventTally(), LineTally(self.settings.local_epochs)
        self._state_seen: tuple[int, int] | None = None
        self._record: tuple[Any, Line] = (None, {})
        self._sums: tuple[Any, dict[str, dict[str, ScoreSums]]] = (None, {})

    def refresh(self) -> "RunView":
        """Read what is new; a run that was over, and still is, has nothing new."""
        with self._lock:
            seen = _stamp(self.run.folder / "state.json")
            if seen == self._state_seen and self.over:
                return self
            changed = seen != self._state_seen
            self._state_seen, self.state = seen, self.run.state
            events_restarted, events = self._event_file.read()
            if events_restarted:
                self._events = EventTally()
            lines_restarted, lines = self._line_file.read()
            if lines_restarted:
                self._lines = LineTally(self.settings.local_epochs)
            for take, news in ((self._events.take, events), (self._lines.take, lines)):
                for line in news:
                    with contextlib.suppress(KeyError, TypeError, ValueError):  # damaged
                        take(line)
            self.version += bool(changed or events_restarted or events or lines_restarted or lines)
            return self

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.name

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.state.get("state") in OVER

    # -- rounds -----------------------------------------------------------------------------------------------------
    def counts(self) -> Counts:
        """Counts so far. Bytes: each accepted reply has fetched and sent a model, each test result has fetched one."""
        with self._lock:
            counts, size = self._events.counts + self._lines.counts, int(self.record.get("size", 0))
            tested = {clinic for split, clinic, _ in self._lines.newest if split == "test"}
            accepted = {key[1]: count for key, count in counts.items() if key[0] == "results" and key[2] == "accepted"}
        for clinic, count in accepted.items():
            counts["up", clinic] += count * size
            counts["down", clinic] += (count + (clinic in tested)) * size
        return counts

    def rejected_at(self) -> dict[str, tuple[float, str]]:
        """Clinic to Unix time and reason of its newest rejected reply."""
        with self._lock:
            return dict(self._events.rejected_at)

    @property
    def last_round(self) -> Line:
        """The event of the newest complete round; empty before there is one."""
        return self._events.last_round

    def pace(self, newest: int = PACE_ROUNDS) -> Pace | None:
        """How fast the `newest` rounds were; None before there is one."""
        with self._lock:
            rounds = list(self._events.rounds)[-newest:]
            if not rounds:
                return None
            training = statistics.median(self._lines.training_s.get(number, 0.0) for number, _, _ in rounds)
            return Pace(len(rounds), statistics.median(s for _, _, s in rounds), training, rounds[-1][1])

    def rounds_of(self, clinic: str) -> list[Line]:
        """A clinic's newest rounds, newest first: what it replied, or why the reply was rejected."""
        with self._lock:
            size, rounds = self.model_bytes, dict(self._events.rejected.get(clinic, {}))
            for number, line in self._lines.done.get(clinic, {}).items():
                spent = line.get("seconds") or {}
                rounds[number] = {
                    "result": "done",
                    "words": "",
                    "seconds": spent,
                    "answer_s": sum(spent.values()),
                    "examples": line["n"],
                    "loss": line.get("loss"),
                    "device": line.get("device", ""),
                    "norm": line.get("norm") or None,  # 0 under masks, where it is not known
                    "reconnects": line.get("reconnects", 0),
                    "down": size,
                    "up": size,
                }
        return [{"run": self.name, "round": n, **rounds[n]} for n in sorted(rounds, reverse=True)][:LAST_ROUNDS]

    # -- metrics ----------------------------------------------------------------------------------------------------
    def lines(self) -> list[Line]:
        """All metric lines."""
        return JsonLines(self.run.folder / "metrics.jsonl").read()[1]

    def newest_lines(self) -> dict[tuple[str, str, str], Line]:
        """(split, clinic, day) to the newest metric line, in the order in which they came; `day` is "all" or a number as
        text, the split of a training line "train"."""
        with self._lock:
            return dict(self._lines.newest)

    def best(self) -> dict[tuple[str, str, str], tuple[float, int]]:
        """(split, clinic, day) to the highest AUROC and the round of the model that had it."""
        with self._lock:
            return dict(self._lines.best)

    @property
    def best_validation(self) -> Best | None:
        """Round and pooled validation AUROC of the best model."""
        best = self._lines.best.get(("validation", POOLED, ALL_DAYS))
        return (best[1], best[0]) if best else None

    def curve(self) -> list[list[float | None]]:
        """[round, then `tallies.Point`], pooled, on validation patients; of many rounds, `MOST_POINTS` evenly spaced."""
        with self._lock:
            return evenly_spaced([[r, *values] for r, values in sorted(self._lines.points.items())], MOST_POINTS)

    def courses(self) -> dict[str, list[list[float | None]]]:
        """Pooled, then each clinic, to its points as in `curve`; a clinic has at most `MOST_OF_CLINIC`."""
        with self._lock:
            clinics = sorted(self._lines.courses.items())
            return {POOLED: self.curve()} | {n: [[r, *v] for r, v in sorted(c.items())] for n, c in clinics}

    @property
    def validated(self) -> int:
        """Round of the newest model with validation metrics; -1 before there is one."""
        return max(self._lines.points, default=-1)

    # -- records and results ----------------------------------------------------------------------------------------
    def records(self) -> Iterator[Line]:
        """The records of all complete rounds, in order (see `checkpoint`)."""
        return filter(None, map(read_record, sorted(self.run.folder.glob("round-*.json"))))

    @property
    def record(self) -> Line:
        """The newest round's record, with `written` (Unix time); empty before there is one."""
        path = self.run.folder / f"round-{self.state.get('round', 0):04d}.json"
        with self._lock:
            if (stamp := _stamp(path)) != self._record[0]:
                record = read_record(path)
                self._record = stamp, {**record, "written": path.stat().st_mtime} if record else {}
            return self._record[1]

    @property
    def took_part(self) -> frozenset[str]:
        """Clinics whose update counted in any round."""
        return frozenset(name for record in self.records() for name in record.get("clinics", {}))

    @property
    def model_bytes(self) -> int:
        """Size of the run's model; 0 before there is one."""
        weights = self.run.folder / "model.safetensors"
        return weights.stat().st_size if weights.exists() else int(self.record.get("size", 0))

    def model(self) -> Line:
        """`model.json`; empty before it is written."""
        return _read_json(self.run.folder / "model.json")

    def results(self) -> Line:
        """`results.json`; empty before it is written."""
        return _read_json(self.run.folder / "results.json")

    def audit(self) -> Line:
        """`audit.json`; empty before the run was audited."""
        return _read_json(self.run.folder / "audit.json")

    def sums(self) -> dict[str, dict[str, ScoreSums]]:
        """Split to clinic (and pooled) to score sums, of the newest model that was evaluated: the final one, else the one
        before the newest round."""
        with self._lock:
            record, stamp = self.record, _stamp(self.run.folder / "model.json")
            if (key := (self._record[0], stamp)) != self._sums[0]:
                final = self.model()
                if not (final.get("evaluation") or final.get("pooled")):
                    final = evaluation_of(record)
                by_split = {split: _sums_of(final, split) for split in ("validation", "test")}
                sums = {split: by_clinic for split, by_clinic in by_split.items() if by_clinic}
                self._sums = key, sums or self._sums[1]  # the record of round 0 has none
            return self._sums[1]

    def write_note(self, text: str) -> None:
        """Note something about the run; "" takes the note away."""
        self.run.write("note.txt", text)
        self.note = text

    # -- for people -------------------------------------------------------------------------------------------------
    def summary(self) -> Line:
        """State, what the run is made of, and whether it has results."""
        made = {key: getattr(self.settings, key) for key in ("model", "strategy", "rounds", "seed", "clinics")}
        results = (self.run.folder / "results.json").exists()
        return {"name": self.name, **self.state, **made, "results": results, "note": self.note}

    def outline(self) -> Line:
        """What runs are compared by: settings, state, curve, and the final results of all days, pooled and by clinic, on
        validation and test patients (None without results)."""
        splits = self.results().get("splits")
        final = splits and {
            split: {name: _short(days["all"]) for name, days in {"pooled": s["pooled"], **s["clinics"]}.items()}
            for split, s in splits.items()
        }
        settings = self.settings.model_dump()
        return {"name": self.name, **self.state, "settings": settings, "curve": self.curve(), "final": final}


def evenly_spaced(items: list[T], most: int) -> list[T]:
    """All items, or of more than `most` this many, with the first and the last."""
    if len(items) <= most:
        return items
    step = (len(items) - 1) / (most - 1)
    return [items[round(number * step)] for number in range(most)]


def read_record(path: Path) -> Line | None:
    """A round's record, or None if it is damaged."""
    record = _read_json(path)
    return record if {"round", "sha256"} <= set(record) else None


def _read_json(path: Path) -> Line:
    try:
        value: Line = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return value


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file is replaced; None if there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_ino


def _sums_of(record: Line, split: str) -> dict[str, ScoreSums]:
    with contextlib.suppress(ValueError):
        if sums := released_sums(record, split):
            pooled = merge(sums.values())
            return {name: own for name, own in sums.items() if name != TOGETHER} | {POOLED: pooled}
    return {}


def _short(results: Line) -> Line:
    after = results["after"] or results["before"]
    kept = {key: results[key] for key in ("n", "auroc", "auprc")}
    return {**kept, "brier": after["brier"], "ece": after["ece"]}


class RunViews:
    """One view of each run, shared by everything in the hub that reads runs."""

    def __init__(self, runs: Runs) -> None:
        self._runs, self._lock = runs, threading.Lock()
        self._views: dict[str, RunView] = {}

    def all(self) -> list[RunView]:
        """Every run, oldest first, read up to now."""
        with self._lock:
            self._views = {run.name: self._views.get(run.name) or RunView(run) for run in self._runs.all()}
            views = list(self._views.values())
        return [view.refresh() for view in views]

    def get(self, name: str) -> RunView:
        """The run called `name`, read up to now; `UserError` naming those that exist."""
        run = self._runs.get(name)
        with self._lock:
            view = self._views[name] = self._views.get(name) or RunView(run)
        return view.refresh()

    def current(self) -> RunView | None:
        """The run people mean (see `Runs.current`)."""
        run = self._runs.current()
        return self.get(run.name) if run else None
