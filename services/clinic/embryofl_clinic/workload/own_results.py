"""The exact metrics of this clinic's own patients, of every round: shown in the clinic app, never sent.

What the hub computes comes from histograms, if the clinic's policy releases them; they lose the order of scores within a
bin.
"""

import logging
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from embryofl.errors import UserError
from embryofl.files import write_atomic
from embryofl.messages import Request
from embryofl.metrics import SCORE_FLOOR, ScoredEmbryos
from embryofl.metrics.from_histogram import Interval, auprc_interval, auroc, auroc_interval, average_precision
from embryofl.pooled_metrics import Split
from embryofl.schema import Strict

log = logging.getLogger("embryofl.workload")

FILE = "own_results.json"


class OwnMetrics(Strict):
    """Metrics of some embryos with 95 % intervals; None where a class has no embryo (an interval: fewer than two)."""

    embryos: int
    positives: int
    auroc: float | None
    auroc_interval: Interval | None
    auprc: float | None
    auprc_interval: Interval | None

    @classmethod
    def of(cls, scores: np.ndarray, labels: np.ndarray) -> "OwnMetrics":
        """Of scores and labels, (n,) each: from a histogram with a bin for each distinct score, which loses nothing."""
        values, place = np.unique(scores, return_inverse=True)
        counts = np.bincount(labels * len(values) + place, minlength=2 * len(values)).reshape(2, len(values))
        area, error = auroc(counts)
        precision, positives = average_precision(counts), int(labels.sum())
        return cls(
            embryos=len(labels),
            positives=positives,
            auroc=area,
            auroc_interval=auroc_interval(area, error),
            auprc=precision,
            auprc_interval=auprc_interval(precision, positives),
        )


class SplitResults(Strict):
    """Metrics of one split's embryos: of each day (0 = unknown), and of all days together.

    `time` is a Unix time in seconds; `run` and `round` name the model.
    """

    time: float
    run: str
    round: int
    days: dict[int, OwnMetrics]
    all_days: OwnMetrics


class RoundMetrics(Strict):
    """AUROC and mean log loss of a round's model on validation patients of all days."""

    auroc: float | None
    loss: float | None


class OwnResults(Strict):
    """The newest results of each split; and of the newest run, the course over its rounds on validation patients."""

    splits: dict[Split, SplitResults] = {}
    run: str = ""
    rounds: dict[int, RoundMetrics] = {}


class OwnResultsFile:
    """`own_results.json` in the state folder.

    Parameters
    ----------
    state_dir : Path
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE

    def save(self, request: Request, evaluated: Mapping[Split, ScoredEmbryos]) -> None:
        """Replace the results of these splits. Never raises: a reply does not depend on them."""
        # A training reply of round r evaluates the model of round r - 1.
        number = request.round - 1 if request.kind == "train" else request.round
        before = self.read()
        splits = dict(before.splits)
        for split, embryos in evaluated.items():
            splits[split] = SplitResults(
                time=time.time(),
                run=request.run,
                round=number,
                days={
                    day: OwnMetrics.of(embryos.scores[embryos.days == day], embryos.labels[embryos.days == day])
                    for day in np.unique(embryos.days).tolist()
                },
                all_days=OwnMetrics.of(embryos.scores, embryos.labels),
            )
        rounds = dict(before.rounds) if before.run == request.run else {}
        if "validation" in evaluated:
            loss = _mean_log_loss(evaluated["validation"])
            rounds[number] = RoundMetrics(auroc=splits["validation"].all_days.auroc, loss=loss)
        own = OwnResults(splits=splits, run=request.run, rounds=rounds)
        try:
            write_atomic(self._path, own.model_dump_json(indent=1).encode(), 0o600)
        except (OSError, UserError) as exc:
            log.error("this clinic's own results cannot be written (%s)", exc)

    def read(self) -> OwnResults:
        """The newest results; none where there is no file or it is damaged."""
        try:
            return OwnResults.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return OwnResults()


def _mean_log_loss(embryos: ScoredEmbryos) -> float | None:
    """In nats; None without embryos."""
    hit = np.where(embryos.labels == 1, embryos.scores, 1 - embryos.scores)
    return float(-np.log(np.clip(hit, SCORE_FLOOR, 1)).mean()) if len(hit) else None
