"""Runs as durable objects: a folder each. All that is written there beside checkpoints and weights goes through `Run`.

runs/run-0001/settings.json   the validated settings
runs/run-0001/state.json      queued, waiting, running, paused, finished, stopped or failed, with the reason
runs/run-0001/events.jsonl    what happened, for people
runs/run-0001/metrics.jsonl   a line for each clinic and round, and a pooled one
runs/run-0001/note.txt        what the coordinator has noted about it
runs/run-0001/audit.json      what its clinics have counted in an audit of its final model; audit-events.jsonl beside it
runs/run-0001/model.safetensors, model.json, results.json, model-card.*   the final model, its results and its card

`view` reads all of it.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from embryofl.errors import UserError
from embryofl.files import append, write_atomic
from embryofl.settings import RunSettings
from embryofl.states import OVER

State = Literal["queued", "waiting", "running", "paused", "finished", "stopped", "failed"]


@dataclass(frozen=True)
class Run:
    """One run's folder."""

    name: str
    folder: Path

    @property
    def settings(self) -> RunSettings:
        """The run's settings."""
        return RunSettings.model_validate_json((self.folder / "settings.json").read_text())

    @property
    def state(self) -> dict[str, Any]:
        """`state`, `reason`, `round`, `since` (Unix time)."""
        state: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        return state

    def set_state(self, state: State, round_: int, reason: str = "") -> None:
        """Record the run's state and its last complete round."""
        self.write("state.json", json.dumps({"state": state, "round": round_, "reason": reason, "since": time.time()}))

    def event(self, kind: str, **details: Any) -> None:
        """Append to `events.jsonl`."""
        line = json.dumps({"time": round(time.time(), 3), "kind": kind, **details})
        append(self.folder / "events.jsonl", line + "\n")

    def add_metrics(self, lines: list[dict[str, Any]]) -> None:
        """Append to `metrics.jsonl`."""
        append(self.folder / "metrics.jsonl", "".join(json.dumps(x) + "\n" for x in lines))

    def rewrite_metrics(self, lines: list[dict[str, Any]]) -> None:
        """Replace `metrics.jsonl`, so that a resumed run has each line once."""
        self.write("metrics.jsonl", "".join(json.dumps(x) + "\n" for x in lines))

    def write(self, name: str, text: str) -> None:
        """Replace a file of the run's folder, durably."""
        write_atomic(self.folder / name, text.encode())


class Runs:
    """All runs of a hub."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def all(self) -> list[Run]:
        """The runs, oldest first. A folder without a state was interrupted while being made and does not count."""
        return [Run(p.name, p) for p in sorted(self._folder.glob("run-*")) if (p / "state.json").exists()]

    def create(self, settings: RunSettings) -> Run:
        """Make a new run's folder. It does not count as a run until it has a state."""
        number = max((int(p.name.removeprefix("run-")) for p in self._folder.glob("run-*")), default=0) + 1
        run = Run(f"run-{number:04d}", self._folder / f"run-{number:04d}")
        run.folder.mkdir()
        run.write("settings.json", settings.model_dump_json(indent=1))
        return run

    def next(self) -> Run | None:
        """The run to conduct: one that has begun, else the oldest that is queued."""
        due = [r for r in self.all() if r.state["state"] not in (*OVER, "paused")]
        return min(due, key=lambda run: bool(run.state["state"] == "queued"), default=None)

    def current(self) -> Run | None:
        """The run people mean: the one under way, else the newest."""
        return self.next() or self.latest()

    def latest(self) -> Run | None:
        """The newest run."""
        runs = self.all()
        return runs[-1] if runs else None

    def get(self, name: str) -> Run:
        """The run called `name`; `UserError` naming those that exist."""
        runs = {r.name: r for r in self.all()}
        if name not in runs:
            raise UserError("R2", f"There is no run {name!r}. Runs: {', '.join(runs) or 'none yet'}.")
        return runs[name]
