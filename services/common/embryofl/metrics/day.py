"""Sums over the embryos of one day of culture."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from embryofl.metrics import reading
from embryofl.metrics.bins import BINS, SCORE_FLOOR, FloatArray, IntArray
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
    """

    histogram: IntArray = field(default_factory=lambda: np.zeros((2, BINS), np.int64))
    log_loss: FloatArray = field(default_factory=lambda: np.zeros(2))
    squared_error: FloatArray = field(default_factory=lambda: np.zeros(2))
    withheld: int = 0
    ranking: RankingSums = field(default_factory=RankingSums)

    @property
    def counts(self) -> IntArray:
        """Number of embryos of class 0 and of class 1, int64 (2,)."""
        return np.asarray(self.histogram.sum(axis=1), np.int64)

    def __add__(self, other: DaySums) -> DaySums:
        return DaySums(
            self.histogram + other.histogram,
            self.log_loss + other.log_loss,
            self.squared_error + other.squared_error,
            self.withheld + other.withheld,
            self.ranking + other.ranking,
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DaySums)
            and (self.withheld, self.ranking) == (other.withheld, other.ranking)
            and np.array_equal(self.histogram, other.histogram)
            and np.array_equal(self.log_loss, other.log_loss)
            and np.array_equal(self.squared_error, other.squared_error)
        )


def read_day(value: object, where: str) -> DaySums:
    """A day as `ScoreSums.to_dict` writes it; safe on input from a stranger.

    Raises
    ------
    ValueError
        On anything but the exact form.
    """
    entry = reading.mapping(value, {"histogram", "log_loss", "squared_error", "withheld", "ranking"}, where)
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
        RankingSums.from_dict(entry["ranking"], f"{where}: ranking", n),
    )
