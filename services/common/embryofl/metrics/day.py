"""Sums over the embryos of one day of development."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator

from embryofl.metrics.bins import BINS, SCORE_FLOOR, FloatArray, IntArray
from embryofl.metrics.form import MAX_COUNT, Count, Sum
from embryofl.metrics.ranking import RankingSums
from embryofl.schema import Strict

MAX_LOG_LOSS = -math.log(SCORE_FLOOR)

_Row = Annotated[list[Count], Field(min_length=BINS, max_length=BINS)]


@dataclass(frozen=True)
class DaySums:
    """Sums over the embryos of one day of development.

    Attributes
    ----------
    histogram : ndarray of int64, (2, BINS)
        Number of scores in each bin, of label 0 and of label 1.
    log_loss, squared_error : ndarray of float64, (2,)
        Sums over the embryos of each label, natural logarithm.
    withheld : int
        How many clinics (of merged sums) withheld this day because a label had too few embryos.
    ranking : RankingSums
        Of the cohorts of this day.
    blur : int
        What grouping has cost of the order of scores, in embryos; summed over clinics. See `grouping.blur`.
    """

    histogram: IntArray = field(default_factory=lambda: np.zeros((2, BINS), np.int64))
    log_loss: FloatArray = field(default_factory=lambda: np.zeros(2))
    squared_error: FloatArray = field(default_factory=lambda: np.zeros(2))
    withheld: int = 0
    ranking: RankingSums = field(default_factory=RankingSums)
    blur: int = 0

    @property
    def counts(self) -> IntArray:
        """Number of embryos with label 0 and with label 1, int64 (2,)."""
        return np.asarray(self.histogram.sum(axis=1), np.int64)

    def __add__(self, other: DaySums) -> DaySums:
        return DaySums(
            self.histogram + other.histogram,
            self.log_loss + other.log_loss,
            self.squared_error + other.squared_error,
            self.withheld + other.withheld,
            self.ranking + other.ranking,
            self.blur + other.blur,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DaySums) and self.to_dict() == other.to_dict()

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for JSON; `DayForm` reads them."""
        return {
            "histogram": self.histogram.tolist(),
            "log_loss": self.log_loss.tolist(),
            "squared_error": self.squared_error.tolist(),
            "withheld": self.withheld,
            "ranking": asdict(self.ranking),
            "blur": self.blur,
        }


class DayForm(Strict):
    """A `DaySums` as a clinic sends it. Rejects sums that no embryos can have."""

    histogram: tuple[_Row, _Row]
    log_loss: tuple[Sum, Sum]
    squared_error: tuple[Sum, Sum]
    withheld: Count
    ranking: RankingSums
    blur: Count

    @model_validator(mode="after")
    def _possible(self) -> Self:
        counts = np.sum(self.histogram, axis=1)
        n = int(counts.sum())
        if n > MAX_COUNT:
            raise ValueError(f"found {n} embryos, expected at most {MAX_COUNT}")
        most = counts * (1 + 1e-9)
        if np.any(np.array(self.log_loss) > most * MAX_LOG_LOSS) or np.any(np.array(self.squared_error) > most):
            raise ValueError("expected smaller losses for this number of embryos")
        self.ranking.check(n)
        if self.blur > n:
            raise ValueError(f"found a blur of {self.blur} embryos, expected at most {n}")
        return self

    def sums(self) -> DaySums:
        """The same to add and to compute metrics from."""
        return DaySums(
            np.array(self.histogram, np.int64),
            np.array(self.log_loss),
            np.array(self.squared_error),
            self.withheld,
            self.ranking,
            self.blur,
        )
