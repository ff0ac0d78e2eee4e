"""Metrics from a histogram of scores by label, int64 (2, BINS): label 0 in the first row, label 1 in the second."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from embryofl.metrics.bins import CENTRES, FloatArray, IntArray

CALIBRATION_BINS = 10
Z = 1.959963984540054
"""Standard errors to either side of a metric that make its 95 % interval."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Metrics:
    """Metrics of some embryos. One is None where it cannot be computed (no embryo, or embryos of one label only).

    Attributes
    ----------
    n, positives : int
        Embryos counted, and those with label 1 among them.
    withheld : int
        Clinics whose embryos are not counted here because they had too few of a label.
    loss, brier : float or None
        Mean log loss (nats) and mean squared error of the scores.
    auroc, auroc_se : float or None
        Area under the ROC curve, ties counted half, and its standard error (DeLong et al. 1988). The error treats
        embryos as independent; those of one patient are not quite.
    auroc_blur : float or None
        How far `auroc` may be from that of the scores themselves, because bins of many embryos hide their order
        (`embryofl.metrics.grouping.blur`); 0 where bins are small.
    auprc : float or None
        Average precision.
    ece : float or None
        Expected calibration error over ten equal bins.
    threshold, sensitivity, specificity : float or None
        Of the rule "score at or above `threshold`"; the threshold is the bin edge nearest to the one asked for.
    """

    n: int
    positives: int
    withheld: int
    loss: float | None
    auroc: float | None
    auroc_se: float | None
    auroc_blur: float | None
    auprc: float | None
    brier: float | None
    ece: float | None
    threshold: float
    sensitivity: float | None
    specificity: float | None

    def to_dict(self) -> dict[str, int | float | None]:
        """The same as a dictionary that JSON takes."""
        return asdict(self)


def auroc(histogram: IntArray) -> tuple[float | None, float | None]:
    """Mann-Whitney statistic with ties counted half, and DeLong's standard error, from counts (2, bins).

    Two embryos in one bin count as a tie.
    """
    negatives, positives = histogram.astype(np.float64)
    n0, n1 = negatives.sum(), positives.sum()
    if not n0 or not n1:
        return None, None
    # Per bin, the share of the other label that a score in it beats (for a positive) or loses to (for a negative).
    beats = (np.cumsum(negatives) - negatives / 2) / n0
    loses = 1 - (np.cumsum(positives) - positives / 2) / n1
    area = float(positives @ beats / n1)
    if n0 < 2 or n1 < 2:
        return area, None
    variance = positives @ (beats - area) ** 2 / (n1 - 1) / n1 + negatives @ (loses - area) ** 2 / (n0 - 1) / n0
    return area, float(math.sqrt(max(variance, 0.0)))


def average_precision(histogram: IntArray) -> float | None:
    """Mean precision at the score of each positive, from counts (2, bins); two embryos in one bin count as a tie."""
    if not np.all(histogram.sum(axis=1) > 0):
        return None
    negatives, positives = np.cumsum(histogram[:, ::-1].astype(np.float64), axis=1)
    precisions = positives / np.maximum(positives + negatives, 1)
    return float(histogram[1, ::-1] @ precisions / positives[-1])


def tenth_of(scores: FloatArray) -> IntArray:
    """Which of `CALIBRATION_BINS` equal bins each score falls into, int64 like `scores`."""
    return np.asarray(np.minimum((scores * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1), np.int64)


def calibration_error(histogram: IntArray, scores: FloatArray = CENTRES) -> float | None:
    """Mean difference of score and frequency over `CALIBRATION_BINS` bins; `scores` are what the bins stand for."""
    total = histogram.sum(axis=0).astype(np.float64)
    n = total.sum()
    if not n:
        return None
    surplus = np.bincount(tenth_of(scores), weights=total * scores - histogram[1], minlength=CALIBRATION_BINS)
    return float(np.abs(surplus).sum() / n)


def auroc_interval(area: float | None, error: float | None) -> Interval | None:
    """95 % interval of an AUROC from its standard error, cut off at 0 and 1."""
    if area is None or error is None:
        return None
    return max(0.0, area - Z * error), min(1.0, area + Z * error)


def auprc_interval(precision: float | None, positives: int) -> Interval | None:
    """95 % interval of an average precision on the scale of log odds.

    Boyd, Eng and Page, "Area under the precision-recall curve: point estimates and confidence intervals", ECML PKDD 2013.
    """
    if precision is None or not 0 < precision < 1 or not positives:
        return None
    centre, error = math.log(precision / (1 - precision)), Z / math.sqrt(positives * precision * (1 - precision))
    low, high = (1 / (1 + math.exp(-(centre + side * error))) for side in (-1, 1))
    return low, high


def wilson(hits: float, of: float) -> Interval | None:
    """95 % interval of a proportion (Wilson, JASA 22, 1927); it holds for small numbers and near 0 and 1, too."""
    if not of:
        return None
    share = hits / of
    middle = share + Z**2 / (2 * of)
    half = Z * math.sqrt(share * (1 - share) / of + Z**2 / (4 * of**2))
    return max(0.0, (middle - half) / (1 + Z**2 / of)), min(1.0, (middle + half) / (1 + Z**2 / of))


def bootstrap(histogram: IntArray, scores: FloatArray = CENTRES, draws: int = 400) -> Interval | None:
    """95 % percentile interval of the calibration error: embryos are resampled within each label, with a fixed seed.

    The error is never below 0 and is larger the fewer the embryos, so with few embryos the interval lies above the value
    itself.
    """
    counts = histogram.sum(axis=1)
    if not np.all(counts >= 2):
        return None
    used = histogram.any(axis=0)  # what is not used is never drawn, and most bins are not
    rng = np.random.default_rng(0)
    drawn = [rng.multinomial(int(n), row / n, draws) for n, row in zip(counts, histogram[:, used], strict=True)]
    total = (drawn[0] + drawn[1]).astype(np.float64)
    surplus = total * scores[used] - drawn[1]
    groups = np.arange(CALIBRATION_BINS) == tenth_of(scores[used])[:, None]
    low, high = np.quantile(np.abs(surplus @ groups).sum(axis=1) / counts.sum(), [0.025, 0.975])
    return float(low), float(high)
