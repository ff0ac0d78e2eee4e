"""What the order of scores comes to, exactly: the sums that a histogram's bins lose, and how far a figure can be off.

A histogram whose bins hold at least three embryos loses their order within a bin: on 13 embryos the same scores read as an
AUROC of 0.75 or 0.86. So a clinic releases two more sums over all its embryos of a day (and of all days together):

* `half_pairs`, twice the Mann-Whitney count: of all pairs of a good and another embryo, 2 for each in which the good one
  has the higher score and 1 for each tie;
* `precisions`, the sum over the good embryos of the precision at their score (average precision times their number), to one
  decimal.

The hub keeps what they exceed those of the histogram by (`Correction`), which adds up over clinics. A clinic's own AUROC is
exact then, and its AUPRC to what rounding costs (0.01 with 5 good embryos, 0.001 with 50); of the pooled ones only what
depends on the order of *different* clinics' embryos is not known.

What they tell beyond the histogram. Neither depends on what a score is, only on the order of classes, so that no score
becomes known more finely than by its bin. But with few embryos they tell much of the order of classes *within* bins: of
random sets of 13 embryos in bins of three, the first alone leaves one order in half of the cases, both in two thirds; of 26
embryos in 4 % and 20 %. Who holds the model, a clinic's pictures and these sums could then say which of the three embryos
in a bin has label 1, where the histogram says how many do. Any exact AUROC of few embryos tells that, wherever it is
published; the sums stand under the rule of least counts, and a clinic to whom it is too much raises its `min_cell`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embryofl.metrics.bins import BINS, FloatArray, IntArray
from embryofl.metrics.reading import integer, mapping, number

DIGITS = 1
"""Decimals of a released sum of precisions. With two, the order of classes could nearly always be computed from it."""
_STEPS = (np.arange(8) + 0.5) / 8


@dataclass(frozen=True)
class Correction:
    """Sums of the scores less those of the histogram.

    Attributes
    ----------
    half_pairs : int
    precisions : float
        Against `tied_precisions`.
    random : float
        What `random_precisions` of the histogram exceed `tied_precisions` by: the hub computes it, nobody sends it.
    """

    half_pairs: int = 0
    precisions: float = 0.0
    random: float = 0.0

    def __add__(self, other: Correction) -> Correction:
        return Correction(
            self.half_pairs + other.half_pairs, self.precisions + other.precisions, self.random + other.random
        )

    @classmethod
    def of_sums(cls, half_pairs_: int, precisions: float, histogram: IntArray) -> Correction:
        """For the exact sums and the histogram (2, BINS) that stands for the scores."""
        tied = tied_precisions(histogram)
        return cls(half_pairs_ - half_pairs(histogram), precisions - tied, random_precisions(histogram) - tied)

    @classmethod
    def of_scores(cls, scores: FloatArray, labels: IntArray, histogram: IntArray) -> Correction:
        """For scores (n,), labels (n,) and the histogram (2, BINS) that stands for them."""
        other, good = np.sort(scores[labels == 0]), np.sort(scores[labels == 1])
        below = np.searchsorted(other, good, "left")
        pairs = int((below + np.searchsorted(other, good, "right")).sum())
        hits, misses = len(good) - np.searchsorted(good, good, "left"), len(other) - below
        return cls.of_sums(pairs, float((hits / (hits + misses)).sum()), histogram)

    def moved(self, before: IntArray, after: IntArray) -> Correction:
        """The correction of the same scores when another histogram stands for them."""
        exact = self.precisions + tied_precisions(before)
        return self.of_sums(self.half_pairs + half_pairs(before), exact, after)

    def of_days(self) -> Correction:
        """What corrections of single days, added up, say of all days together: their own pairs. Precision is no matter of
        a day alone."""
        return Correction(self.half_pairs)

    def precisions_of(self, histogram: IntArray) -> float:
        """The sum of precisions of embryos whose corrections add up to this, from their histogram together, (2, BINS).

        How much of what the order within bins can add was there in the clinics' own figures (`random` would be all of it)
        is taken to hold for the histogram of all; what is left of their corrections is added. For one clinic it is exact.
        """
        part = min(max(self.precisions / self.random, 0.0), 1.0) if self.random > 1e-9 else 0.0
        tied = tied_precisions(histogram)
        return tied + part * (random_precisions(histogram) - tied) + self.precisions - part * self.random

    def to_dict(self, histogram: IntArray) -> dict[str, int | float]:
        """The two sums themselves, for JSON; the second with `DIGITS` decimals."""
        return {
            "half_pairs": self.half_pairs + half_pairs(histogram),
            "precisions": round(self.precisions + tied_precisions(histogram), DIGITS),
        }

    @classmethod
    def from_dict(cls, value: object, where: str, parts: Sequence[IntArray]) -> Correction:
        """Read what `to_dict` wrote; safe on input from a stranger.

        Parameters
        ----------
        parts : sequence of ndarray of int64, (2, BINS)
            Histograms of the scores, one a day.

        Raises
        ------
        ValueError
            On anything but the exact form, or sums that no scores with these histograms have.
        """
        entry = mapping(value, {"half_pairs", "precisions"}, where)
        if not parts:
            raise ValueError(f"{where}: expected none where there are no embryos")
        histogram = np.sum(parts, axis=0)
        middle, away = half_pairs(histogram), unknown_half_pairs(parts)
        pairs = integer(entry["half_pairs"], f"{where}: half_pairs", 2 * int(np.prod(histogram.sum(axis=1))))
        if abs(pairs - middle) > away:
            raise ValueError(
                f"{where}: half_pairs: expected {middle - away} to {middle + away}, by what the bins allow"
            )
        low, high = precisions_range(parts)
        half = 10**-DIGITS
        found = number(entry["precisions"], f"{where}: precisions", low - half, high + half)
        return cls.of_sums(pairs, found, histogram)


def half_pairs(histogram: IntArray) -> int:
    """Twice the Mann-Whitney count of counts (2, BINS): two embryos in one bin are a tie."""
    other, good = histogram
    return int(good @ (2 * np.cumsum(other) - other))


def tied_precisions(histogram: IntArray) -> float:
    """Sum over the good embryos of the precision at their score, from counts (2, BINS); embryos in one bin are a tie."""
    other, good = np.cumsum(histogram[:, ::-1].astype(np.float64), axis=1)
    return float(histogram[1, ::-1] @ (good / np.maximum(good + other, 1)))


def random_precisions(histogram: IntArray) -> float:
    """The same where the order within a bin is as chance has it: at the k-th good embryo of a bin's p, ``k / (p + 1)`` of
    the bin's other embryos lie above."""
    other, good = histogram[:, ::-1].astype(np.float64)
    filled = good > 0
    goods, others = (np.cumsum(good) - good)[filled, None], (np.cumsum(other) - other)[filled, None]
    p, n = good[filled, None], other[filled, None]
    k = 0.5 + p * _STEPS  # (bins, 8): from the first to the last of p
    hits = goods + k
    return float((p / len(_STEPS) * (hits / (hits + others + n * k / (p + 1)))).sum())


def unknown_half_pairs(parts: Sequence[IntArray]) -> int:
    """How far `half_pairs` of the sum of histograms can be from that of the scores at most.

    A histogram of grouped scores (`grouping`) counts a group in one bin, that of its median score; its embryos lie between
    the neighbouring groups' bins. Within one histogram the order of groups is known, and two embryos in one bin are a tie
    that may be none: off by 1. Between two histograms, two groups whose ranges overlap can be the other way round: off by
    2, or by 1 where they are counted in one bin.
    """
    within = sum(int(part[0] @ part[1]) for part in parts)
    if len(parts) < 2:
        return within
    total = np.sum(parts, axis=0)
    ranges = [_ranges(part) for part in parts]
    overlapping = _overlapping(ranges) - sum(_overlapping([own]) for own in ranges)
    same_bin = int(total[0] @ total[1]) - within
    return within + 2 * overlapping - same_bin


def precisions_range(parts: Sequence[IntArray]) -> tuple[float, float]:
    """Least and greatest sum of precisions that scores with these histograms can have (see `unknown_half_pairs`)."""
    ranges = [_ranges(part, alone=len(parts) == 1) for part in parts]
    from_first, from_last = _counts_above(ranges)
    low = high = 0.0
    for first, last, counts in ranges:
        surely = from_first[:, last + 1]  # (2, groups): embryos of groups that lie wholly above
        perhaps = from_last[:, first]  # those, and those of groups that reach as high, with the group's own
        for g in np.flatnonzero(counts[1]).tolist():
            p = int(counts[1, g])
            edges = np.linspace(0, p, min(p, BINS) + 1).astype(np.int64)
            least, most = surely[1, g] + edges[:-1] + 1, int(perhaps[1, g])  # most: good embryos of one score
            low += float((np.diff(edges) * (least / (least + perhaps[0, g]))).sum())
            high += p * most / (most + int(surely[0, g]))
    return low, high


_Ranges = tuple[IntArray, IntArray, IntArray]
"""First and last bin that a group's embryos can lie in, int64 (groups,), and their counts, int64 (2, groups)."""


def _ranges(histogram: IntArray, *, alone: bool = False) -> _Ranges:
    """Of the groups of a histogram; `alone`: their order is all that matters, and that is known."""
    filled = np.flatnonzero(histogram.sum(axis=0))
    if alone:
        return filled, filled, histogram[:, filled]
    first = np.append(0, filled[:-1] + 1)[: len(filled)]
    last = np.append(filled[1:] - 1, BINS - 1)[-len(filled) or BINS :]
    return first, last, histogram[:, filled]


def _counts_above(ranges: Sequence[_Ranges]) -> tuple[IntArray, IntArray]:
    """Embryos of groups that begin, and of groups that end, in a bin or above it: int64 (2, BINS + 1) each."""
    counts = np.concatenate([one[2] for one in ranges], axis=1)
    found = []
    for edge in (0, 1):
        at = np.concatenate([one[edge] for one in ranges])
        rows = np.stack([np.bincount(at, weights=row, minlength=BINS + 1) for row in counts]).astype(np.int64)
        found.append(np.cumsum(rows[:, ::-1], axis=1)[:, ::-1])
    return found[0], found[1]


def _overlapping(ranges: Sequence[_Ranges]) -> int:
    """Pairs of a good and another embryo in groups whose ranges overlap."""
    from_first, from_last = _counts_above(ranges)
    return sum(int(counts[1] @ (from_last[0, first] - from_first[0, last + 1])) for first, last, counts in ranges)
