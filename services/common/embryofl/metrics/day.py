"""Sums over the embryos of one day of culture."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from embryofl.metrics import figures, reading
from embryofl.metrics.bins import BINS, SCORE_FLOOR, FloatArray, IntArray
from embryofl.metrics.order import Correction
from embryofl.metrics.ranking import RankingSums
from embryofl.metrics.reading import MAX_COUNT

MAX_LOG_LOSS = -math.log(SCORE_FLOOR)


@dataclass(frozen=True)
class DaySums:
    """Sums over the embryos of one day of culture.

    Attributes
    ----------
    histogram : ndarray of int64, (2, BINS)
        Number of scores in each bin, of class 0 and of class 1.
    log_loss, squared_error : ndarray of float64, (2,)
        Sums over the embryos of each class, natural logarithm.
    withheld : int
        How many clinics (merged sums) left this day out because a class was too small to be told.
    ranking : RankingSums
        Of the cohorts of this day.
    order : Correction, optional
        What the histogram loses of the order of the scores; None: nobody has told (an older clinic).
    """

    histogram: IntArray = field(default_factory=lambda: np.zeros((2, BINS), np.int64))
    log_loss: FloatArray = field(default_factory=lambda: np.zeros(2))
    squared_error: FloatArray = field(default_factory=lambda: np.zeros(2))
    withheld: int = 0
    ranking: RankingSums = field(default_factory=RankingSums)
    order: Correction | None = None

    @property
    def counts(self) -> IntArray:
        """Number of embryos of class 0 and of class 1, int64 (2,)."""
        return np.asarray(self.histogram.sum(axis=1), np.int64)

    def auroc(self) -> tuple[float | None, float | None]:
        """Area under the ROC curve and its standard error; see `embryofl.metrics.figures.Metrics`.

        The one place where it is computed: the histogram's, with what `order` knows better. The standard error is the
        histogram's.
        """
        area, error = figures.auroc(self.histogram)
        if area is not None and self.order is not None:
            area += self.order.half_pairs / (2 * float(np.prod(self.counts)))
            area = min(max(area, 0.0), 1.0)
        return area, error

    def auprc(self) -> float | None:
        """Average precision, likewise."""
        if not np.all(self.counts > 0):
            return None
        found = (self.order or Correction()).precisions_of(self.histogram)
        return min(max(found / int(self.counts[1]), 0.0), 1.0)

    def __add__(self, other: DaySums) -> DaySums:
        return DaySums(
            self.histogram + other.histogram,
            self.log_loss + other.log_loss,
            self.squared_error + other.squared_error,
            self.withheld + other.withheld,
            self.ranking + other.ranking,
            added(self.order, other.order),
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DaySums)
            and (self.withheld, self.ranking, self.order) == (other.withheld, other.ranking, other.order)
            and np.array_equal(self.histogram, other.histogram)
            and np.array_equal(self.log_loss, other.log_loss)
            and np.array_equal(self.squared_error, other.squared_error)
        )


def added(one: Correction | None, other: Correction | None) -> Correction | None:
    """The sum of what is known."""
    if one is None or other is None:
        return one or other
    return one + other


def read_day(value: object, where: str) -> DaySums:
    """A day as `ScoreSums.to_dict` writes it; safe on input from a stranger.

    Raises
    ------
    ValueError
        On anything but the exact form.
    """
    keys = {"histogram", "log_loss", "squared_error", "withheld"}
    entry = reading.mapping(value, keys, where, optional=frozenset({"ranking", "order"}))
    rows = reading.array(entry["histogram"], 2, f"{where}: histogram")
    histogram = np.array(
        [
            [reading.integer(x, f"{where}: count", MAX_COUNT) for x in reading.array(row, BINS, f"{where}: histogram")]
            for row in rows
        ],
        np.int64,
    )
    counts = histogram.sum(axis=1)
    n = int(counts.sum())
    if n > MAX_COUNT:
        raise ValueError(f"{where}: found {n} embryos, expected at most {MAX_COUNT}")
    return DaySums(
        histogram,
        reading.sums(entry["log_loss"], counts * MAX_LOG_LOSS, f"{where}: log_loss"),
        reading.sums(entry["squared_error"], counts.astype(np.float64), f"{where}: squared_error"),
        reading.integer(entry["withheld"], f"{where}: withheld", MAX_COUNT),
        RankingSums.from_dict(entry["ranking"], f"{where}: ranking", n) if "ranking" in entry else RankingSums(),
        Correction.from_dict(entry["order"], f"{where}: order", [histogram]) if "order" in entry else None,
    )
