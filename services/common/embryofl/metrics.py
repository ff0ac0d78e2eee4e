"""Metrics as sums over many embryos: what may leave a clinic, and what the hub makes of it.

A clinic sums its scores into a `ScoreSums`; the hub adds those of all clinics and computes AUROC, AUPRC, Brier score,
calibration and sensitivity/specificity at any threshold from the sums. Sums of several clinics give the metrics of the
pooled scores, up to the width of a bin. NumPy only: the hub imports this module and never PyTorch.

What travels, for each day of culture and each class:

* counts of scores in `BINS` fixed bins (integers, no bin sums, so that no bin reveals a score more finely than its
  width);
* the sum of the log losses and the sum of the squared errors.

The bins are equally wide in ``arcsin(sqrt(score))``, the scale on which a proportion has a constant standard error. So
they are at most `BIN_WIDTH` (0.0062) wide in the middle and much finer near 0 and 1, where a confident network bunches
its scores, and 0.5 is the edge of a bin.

What a count of one would reveal: the score of one embryo to within a bin. Whoever holds both the model and a candidate
image could then tell whether that image was among those evaluated. `ScoreSums.suppress` therefore does two things
before sums leave a clinic:

* a day on which a class has fewer than ``minimum`` embryos (but some) is left out whole, counts, losses and all; only
  the fact that it was withheld is passed on. The other class goes with it, because a total known from elsewhere would
  give the small count by subtraction, and because every metric of such a rest would be misleading;
* the scores of each other day are micro-aggregated: neighbours in order of score are counted together in one bin, so
  that no bin that leaves holds fewer than ``group`` embryos.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

FORMAT = 1
BINS = 256
EDGES: FloatArray = np.sin(np.linspace(0.0, np.pi / 2, BINS + 1)) ** 2
"""Edges of the bins, ascending from 0 to 1; bin ``i`` holds ``EDGES[i] <= score < EDGES[i + 1]`` (the last also 1)."""
EDGES[BINS // 2] = 0.5
EDGES[-1] = 1.0
CENTRES: FloatArray = (EDGES[:-1] + EDGES[1:]) / 2
BIN_WIDTH = float(np.diff(EDGES).max())

SMALLEST_COUNT = 5
"""A clinic tells nothing about fewer embryos than this, unless its policy says otherwise."""
CALIBRATION_BINS = 10
SCORE_FLOOR = 1e-7
"""Scores are kept this far from 0 and 1 when the logarithm is taken."""
MAX_DAY = 14
MAX_COUNT = 10_000_000
_MAX_LOG_LOSS = -math.log(SCORE_FLOOR)


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
    """

    histogram: IntArray = field(default_factory=lambda: np.zeros((2, BINS), np.int64))
    log_loss: FloatArray = field(default_factory=lambda: np.zeros(2))
    squared_error: FloatArray = field(default_factory=lambda: np.zeros(2))
    withheld: int = 0

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
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DaySums)
            and self.withheld == other.withheld
            and np.array_equal(self.histogram, other.histogram)
            and np.array_equal(self.log_loss, other.log_loss)
            and np.array_equal(self.squared_error, other.squared_error)
        )


@dataclass(frozen=True)
class Metrics:
    """What the sums say. A figure is None where it cannot be computed (no embryo, or embryos of one class only).

    Attributes
    ----------
    n, positives : int
        Embryos counted, and those of class 1 among them.
    withheld : int
        Clinics whose embryos are not in these figures because one of their classes was too small to be told.
    loss, brier : float or None
        Mean log loss (nats) and mean squared error of the scores.
    auroc, auroc_se : float or None
        Area under the ROC curve, ties counted half, and its standard error (DeLong et al. 1988). The error takes
        embryos for independent; those of one patient are not quite.
    auprc : float or None
        Average precision.
    ece : float or None
        Expected calibration error over ten equal bins.
    threshold, sensitivity, specificity : float or None
        "Score at or above `threshold`" as the rule; the threshold is the bin edge nearest to the one asked for.
    """

    n: int
    positives: int
    withheld: int
    loss: float | None
    auroc: float | None
    auroc_se: float | None
    auprc: float | None
    brier: float | None
    ece: float | None
    threshold: float
    sensitivity: float | None
    specificity: float | None

    def to_dict(self) -> dict[str, int | float | None]:
        """The same as a dictionary that JSON takes."""
        return asdict(self)


@dataclass(frozen=True)
class ScoreSums:
    """Sums over many embryos, per day of culture (0 = unknown).

    Attributes
    ----------
    days : dict of int to DaySums
    """

    days: Mapping[int, DaySums] = field(default_factory=dict)

    @classmethod
    def from_scores(cls, scores: npt.ArrayLike, labels: npt.ArrayLike, days: npt.ArrayLike) -> ScoreSums:
        """Sum the scores of embryos.

        Parameters
        ----------
        scores : array_like of float, (n,)
            Probabilities of class 1, in [0, 1].
        labels : array_like of int, (n,)
            0 or 1.
        days : array_like of int, (n,)
            Day of culture, 0 to 14; 0 = unknown.

        Raises
        ------
        ValueError
            If lengths differ or a value is out of range or not finite.
        """
        score = np.asarray(scores, np.float64).reshape(-1)
        label = np.asarray(labels, np.int64).reshape(-1)
        day = np.asarray(days, np.int64).reshape(-1)
        if not len(score) == len(label) == len(day):
            raise ValueError(
                f"found {len(score)} scores, {len(label)} labels and {len(day)} days; expected as many each"
            )
        if not bool(np.all((score >= 0) & (score <= 1))):  # NaN compares false
            raise ValueError("found a score that is not a number in [0, 1]")
        if not bool(np.all((label == 0) | (label == 1))):
            raise ValueError("found a label other than 0 and 1")
        if not bool(np.all((day >= 0) & (day <= MAX_DAY))):
            raise ValueError(f"found a day of culture outside 0 to {MAX_DAY}")
        bins = np.minimum(np.searchsorted(EDGES, score, side="right") - 1, BINS - 1)
        hit = np.where(label == 1, score, 1 - score)
        log_loss = -np.log(np.clip(hit, SCORE_FLOOR, 1.0))
        squared = (1 - hit) ** 2
        sums = {}
        for value in np.unique(day).tolist():
            here = day == value
            flat = np.bincount(label[here] * BINS + bins[here], minlength=2 * BINS)
            sums[value] = DaySums(
                flat.astype(np.int64).reshape(2, BINS),
                _by_class(label[here], log_loss[here]),
                _by_class(label[here], squared[here]),
            )
        return cls(sums)

    def merge(self, *others: ScoreSums) -> ScoreSums:
        """Sums over the embryos of all; the order does not matter but for rounding in the last digit."""
        return merge((self, *others))

    def suppress(self, minimum: int = SMALLEST_COUNT, group: int = 3) -> ScoreSums:
        """What of these sums may leave a clinic.

        Parameters
        ----------
        minimum : int (default: `SMALLEST_COUNT`)
            A day with a class of at least one but fewer embryos than this is withheld.
        group : int (default: 3)
            No bin of the result holds fewer embryos (both classes together) than this.

        Notes
        -----
        Micro-aggregation of a single variable by groups of fixed size: Domingo-Ferrer and Mateo-Sanz, "Practical
        data-oriented microaggregation for statistical disclosure control", IEEE TKDE 14 (2002).
        """
        result = {}
        for day, sums in self.days.items():
            counts = sums.counts
            if bool(np.any((counts > 0) & (counts < minimum))):
                result[day] = DaySums(withheld=sums.withheld + 1)
            else:
                result[day] = DaySums(_grouped(sums.histogram, group), sums.log_loss, sums.squared_error, sums.withheld)
        return ScoreSums(result)

    def pooled(self, day: int | None = None) -> DaySums:
        """Sums of one day, or of all days together.

        A figure over all days mostly measures the day: embryos of day 3 and of day 5 differ in prevalence.
        """
        if day is not None:
            return self.days.get(day, DaySums())
        total = DaySums()
        for sums in self.days.values():
            total = total + sums
        return total

    def summary(self, day: int | None = None, threshold: float = 0.5) -> Metrics:
        """Metrics of one day, or of all days together; see `Metrics`."""
        sums = self.pooled(day)
        negatives, positives = (int(count) for count in sums.counts)
        n = negatives + positives
        cut = nearest_edge(threshold)
        below = sums.histogram[:, :cut].sum(axis=1)
        auroc, auroc_se = _auroc(sums.histogram)
        return Metrics(
            n=n,
            positives=positives,
            withheld=sums.withheld,
            loss=float(sums.log_loss.sum() / n) if n else None,
            auroc=auroc,
            auroc_se=auroc_se,
            auprc=_average_precision(sums.histogram),
            brier=float(sums.squared_error.sum() / n) if n else None,
            ece=_calibration_error(sums.histogram),
            threshold=float(EDGES[cut]),
            sensitivity=float(1 - below[1] / positives) if positives else None,
            specificity=float(below[0] / negatives) if negatives else None,
        )

    def roc(self, day: int | None = None) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Points of the ROC curve.

        Returns
        -------
        false_positive_rate, true_positive_rate, threshold : ndarray of float64, (BINS + 1,)
            From (0, 0) at threshold 1 to (1, 1) at threshold 0. Empty arrays where a class has no embryo.
        """
        sums = self.pooled(day)
        if not np.all(sums.counts > 0):
            return np.zeros(0), np.zeros(0), np.zeros(0)
        above = np.cumsum(sums.histogram[:, ::-1], axis=1) / sums.counts[:, None]
        rates = np.concatenate([np.zeros((2, 1)), above], axis=1)
        return rates[0], rates[1], EDGES[::-1].copy()

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for JSON; `from_dict` reads it back."""
        return {
            "format": FORMAT,
            "bins": BINS,
            "days": {
                str(day): {
                    "histogram": sums.histogram.tolist(),
                    "log_loss": sums.log_loss.tolist(),
                    "squared_error": sums.squared_error.tolist(),
                    "withheld": sums.withheld,
                }
                for day, sums in sorted(self.days.items())
            },
        }

    @classmethod
    def from_dict(cls, value: object) -> ScoreSums:
        """Read what `to_dict` wrote; safe on input from a stranger.

        Raises
        ------
        ValueError
            On anything but the exact form: unknown or missing keys, wrong sizes, numbers that are no integers
            (``True`` and ``1.0`` included), negative, not finite or larger than can be.
        """
        top = _mapping(value, {"format", "bins", "days"}, "metrics")
        if _integer(top["format"], "format", MAX_COUNT) != FORMAT:
            raise ValueError(f"metrics: found format {top['format']}, expected {FORMAT}")
        if _integer(top["bins"], "bins", MAX_COUNT) != BINS:
            raise ValueError(f"metrics: found {top['bins']} bins, expected {BINS}")
        days = top["days"]
        if not isinstance(days, dict) or len(days) > MAX_DAY + 1:
            raise ValueError("metrics: expected an object of days")
        known = {str(day): day for day in range(MAX_DAY + 1)}
        result = {}
        for key, entry in days.items():
            if key not in known:
                raise ValueError(f"metrics: found a day that is not one of 0 to {MAX_DAY}")
            result[known[key]] = _day_sums(entry, f"day {key}")
        return cls(result)


def merge(parts: Iterable[ScoreSums]) -> ScoreSums:
    """Sums over the embryos of all parts."""
    total: dict[int, DaySums] = {}
    for part in parts:
        for day, sums in part.days.items():
            total[day] = total[day] + sums if day in total else sums
    return ScoreSums(dict(sorted(total.items())))


def nearest_edge(threshold: float) -> int:
    """Index into `EDGES` of the edge nearest to a threshold in [0, 1]."""
    return int(np.argmin(np.abs(EDGES - threshold)))


def _by_class(labels: IntArray, values: FloatArray) -> FloatArray:
    """Sum of the values of each class, float64 (2,)."""
    return np.asarray(np.bincount(labels, weights=values, minlength=2), np.float64)


def _grouped(histogram: IntArray, group: int) -> IntArray:
    """Count neighbouring scores together so that no bin holds fewer than `group`; (2, BINS) to (2, BINS).

    Bins are taken in ascending order into a group until it is full; what is left at the end joins the last group. A
    group is counted in the bin of its median score, which lies between its lowest and its highest.
    """
    filled = np.flatnonzero(histogram.sum(axis=0))
    groups: list[list[int]] = [[]]
    size = 0
    for index in filled.tolist():
        if size >= group:
            groups.append([])
            size = 0
        groups[-1].append(index)
        size += int(histogram[:, index].sum())
    if size < group and len(groups) > 1:
        groups[-2].extend(groups.pop())
    result = np.zeros_like(histogram)
    for members in groups:
        if members:
            running = np.cumsum(histogram[:, members].sum(axis=0))
            middle = members[int(np.searchsorted(running, (running[-1] + 1) // 2))]
            result[:, middle] += histogram[:, members].sum(axis=1)
    return result


def _auroc(histogram: IntArray) -> tuple[float | None, float | None]:
    """Mann-Whitney statistic with ties counted half, and DeLong's standard error, from counts (2, BINS)."""
    negatives, positives = histogram.astype(np.float64)
    n0, n1 = negatives.sum(), positives.sum()
    if not n0 or not n1:
        return None, None
    # Of each bin: the part of the other class that a score in it beats (for a positive) or loses to (for a negative).
    beats = (np.cumsum(negatives) - negatives / 2) / n0
    loses = 1 - (np.cumsum(positives) - positives / 2) / n1
    area = float(positives @ beats / n1)
    if n0 < 2 or n1 < 2:
        return area, None
    variance = positives @ (beats - area) ** 2 / (n1 - 1) / n1 + negatives @ (loses - area) ** 2 / (n0 - 1) / n0
    return area, float(math.sqrt(max(variance, 0.0)))


def _average_precision(histogram: IntArray) -> float | None:
    """Mean over the positives of the precision at their score, from counts (2, BINS)."""
    negatives, positives = np.cumsum(histogram[:, ::-1].astype(np.float64), axis=1)
    if not negatives[-1] or not positives[-1]:
        return None
    precision = positives / np.maximum(positives + negatives, 1)
    return float(histogram[1, ::-1] @ precision / positives[-1])


def _calibration_error(histogram: IntArray) -> float | None:
    """Mean difference of score and frequency over `CALIBRATION_BINS` bins, taking scores at their bin's centre."""
    total = histogram.sum(axis=0).astype(np.float64)
    n = total.sum()
    if not n:
        return None
    coarse = np.minimum((CENTRES * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    surplus = np.bincount(coarse, weights=total * CENTRES - histogram[1], minlength=CALIBRATION_BINS)
    return float(np.abs(surplus).sum() / n)


def _day_sums(value: object, where: str) -> DaySums:
    entry = _mapping(value, {"histogram", "log_loss", "squared_error", "withheld"}, where)
    rows = _list(entry["histogram"], 2, f"{where}: histogram")
    histogram = np.array(
        [[_integer(x, f"{where}: count", MAX_COUNT) for x in _list(row, BINS, f"{where}: histogram")] for row in rows],
        np.int64,
    )
    counts = histogram.sum(axis=1)
    if int(counts.sum()) > MAX_COUNT:
        raise ValueError(f"{where}: found {int(counts.sum())} embryos, expected at most {MAX_COUNT}")
    return DaySums(
        histogram,
        _sums(entry["log_loss"], counts * _MAX_LOG_LOSS, f"{where}: log_loss"),
        _sums(entry["squared_error"], counts.astype(np.float64), f"{where}: squared_error"),
        _integer(entry["withheld"], f"{where}: withheld", MAX_COUNT),
    )


def _mapping(value: object, keys: set[str], where: str) -> dict[str, object]:
    if not isinstance(value, dict) or set(value) != keys:
        raise ValueError(f"{where}: expected an object with exactly {', '.join(sorted(keys))}")
    return value


def _list(value: object, length: int, where: str) -> list[object]:
    if not isinstance(value, list) or len(value) != length:
        raise ValueError(f"{where}: expected a list of {length}")
    return value


def _integer(value: object, where: str, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{where}: expected a whole number from 0 to {most}")
    return value


def _sums(value: object, most: FloatArray, where: str) -> FloatArray:
    numbers = []
    for item, limit in zip(_list(value, 2, where), most.tolist(), strict=True):
        if type(item) not in (int, float) or not 0 <= item <= limit * (1 + 1e-9):  # type: ignore[operator]
            raise ValueError(f"{where}: expected numbers from 0 to what the counts allow")
        numbers.append(float(item))  # type: ignore[arg-type]
    return np.array(numbers)
