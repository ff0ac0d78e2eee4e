"""What a console shows of a run while it goes on: the curve so far, and the pace. Read bit by bit as the files grow."""

import statistics
from typing import Any

from embryofl_server.runs.jsonlines import JsonLines
from embryofl_server.runs.log import Run
from embryofl_server.runs.metric_lines import POOLED

MOST_POINTS = 300
_NEWEST = 5  # rounds by which the end is judged


class LiveRun:
    """One run.

    Parameters
    ----------
    run : Run
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._metrics, self._events = JsonLines(run.metrics_file), JsonLines(run.folder / "events.jsonl")
        self._points: dict[int, tuple[float | None, float | None]] = {}
        self._rounds: list[tuple[float, float]] = []  # when a round was over (Unix time), and its seconds

    def refresh(self) -> None:
        """Read what is new."""
        anew, lines = self._metrics.read()
        if anew:
            self._points.clear()
        for line in lines:
            if line.get("clinic") == POOLED and line.get("split") == "validation" and line.get("day") is None:
                self._points[int(line["round"])] = (line.get("auroc"), line.get("loss"))
        anew, events = self._events.read()
        if anew:
            self._rounds.clear()
        self._rounds += [(float(e["time"]), float(e["seconds"])) for e in events if e.get("kind") == "round"]

    @property
    def curve(self) -> list[list[float | None]]:
        """[round, pooled AUROC, pooled loss] on validation patients; of many rounds, `MOST_POINTS` evenly spaced."""
        points: list[list[float | None]] = [[r, *self._points[r]] for r in sorted(self._points)]
        if len(points) <= MOST_POINTS:
            return points
        step = (len(points) - 1) / (MOST_POINTS - 1)
        return [points[round(n * step)] for n in range(MOST_POINTS)]

    @property
    def pace(self) -> dict[str, Any]:
        """`round_s`: median seconds of the newest `rounds` rounds (0: none yet); `last`: when the newest was over."""
        newest = self._rounds[-_NEWEST:]
        if not newest:
            return {"round_s": 0.0, "rounds": 0, "last": 0.0}
        return {
            "round_s": round(statistics.median(s for _, s in newest), 3),
            "rounds": len(newest),
            "last": newest[-1][0],
        }
