"""Calibration from histograms: what is wrong with the scores as probabilities, and how to set it right.

Logistic recalibration (Cox, Biometrika 45, 1958): ``logit(P(good)) = intercept + slope * logit(score)``. Well calibrated
scores have slope 1 and intercept 0; a slope below 1 says that scores are too extreme. Setting right is the same line with
``temperature = 1 / slope`` (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, with an intercept).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embryofl.metrics.bins import CENTRES, FloatArray, IntArray, expit, logit
from embryofl.metrics.from_histogram import CALIBRATION_BINS, tenth_of

LEAST_TO_LEARN = 10
"""Embryos of each class that are needed to learn a calibration or a threshold from."""
LEAST_IN_ROW = 10
"""Embryos in a row of a released reliability table."""
PRIOR_SLOPE, PRIOR_INTERCEPT = 1.0, 2.0
"""Standard deviations of the normal priors (slope around 1, intercept around 0) with which a calibration is learned: they
keep a few embryos, or classes that do not overlap, from making any score certain, and hardly move it with fifty."""
TEMPERATURES = (0.2, 5.0)
"""A learned temperature is kept within these; at the upper end scores hardly matter any more."""


@dataclass(frozen=True)
class Calibration:
    """From the model's score to a probability: ``expit(logit(score) / temperature + intercept)``."""

    temperature: float = 1.0
    intercept: float = 0.0

    def apply(self, scores: npt.ArrayLike) -> FloatArray:
        """Calibrated probabilities of scores in [0, 1], float64 of the same shape. The order of scores stays."""
        return expit(logit(np.asarray(scores, np.float64)) / self.temperature + self.intercept)


@dataclass(frozen=True)
class Line:
    """Slope and intercept of the logistic recalibration with their standard errors, and the intercept at slope 1
    (calibration in the large: below 0 where scores are too high on average)."""

    slope: float
    slope_se: float
    intercept: float
    intercept_se: float
    in_the_large: float
    in_the_large_se: float


def line(histogram: IntArray, scores: FloatArray = CENTRES) -> Line | None:
    """Fit the logistic recalibration by maximum likelihood; None where it does not exist (one class, or separate ones).

    Parameters
    ----------
    histogram : ndarray of int64, (2, b)
    scores : ndarray of float64, (b,)
        What the bins stand for.
    """
    if not np.all(histogram.sum(axis=1) >= 2):
        return None
    both = _newton(histogram, logit(scores), free_slope=True)
    large = _newton(histogram, logit(scores), free_slope=False)
    if both is None or large is None:
        return None
    (intercept, slope), (intercept_se, slope_se) = both
    return Line(slope, slope_se, intercept, intercept_se, large[0][0], large[1][0])


def learn(histogram: IntArray) -> Calibration | None:
    """Temperature and intercept from the scores of validation patients; None with too few embryos of a class."""
    if not np.all(histogram.sum(axis=1) >= LEAST_TO_LEARN):
        return None
    fit = _newton(histogram, logit(CENTRES), free_slope=True, prior=True)
    if fit is None:
        return None
    (intercept, slope), _ = fit
    low, high = TEMPERATURES
    kept = min(max(slope, 1 / high), 1 / low)
    if kept != slope:  # the intercept that goes with it
        at_kept = _newton(histogram, logit(CENTRES) * kept, free_slope=False, prior=True)
        if at_kept is None:
            return None
        intercept = at_kept[0][0]
    return Calibration(round(1 / kept, 6), round(intercept, 6))


def _newton(
    histogram: IntArray, x: FloatArray, *, free_slope: bool, prior: bool = False
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Intercept and slope of a logistic regression of the class on `x` (b,), and their standard errors.

    Newton's method with halved steps. Without `free_slope` the slope is 1. None when it does not converge.
    """
    count, good = histogram.sum(axis=0).astype(np.float64), histogram[1].astype(np.float64)
    centre = np.array([0.0, 1.0])
    strength = np.array([PRIOR_INTERCEPT**-2.0, PRIOR_SLOPE**-2.0]) if prior else np.zeros(2)
    free = 2 if free_slope else 1
    design = np.stack([np.ones_like(x), x])[:free]  # (free, b)

    def loss(at: FloatArray) -> float:
        line = at[0] + at[1] * x
        return float(count @ np.logaddexp(0, line) - good @ line + (strength * (at - centre) ** 2).sum() / 2)

    at, now = centre.copy(), loss(centre)
    for _ in range(100):
        p = expit(at[0] + at[1] * x)
        gradient = design @ (count * p - good) + (strength * (at - centre))[:free]
        curvature = (design * (count * p * (1 - p))) @ design.T + np.diag(strength[:free])
        try:
            step = np.linalg.solve(curvature, gradient)
            with np.errstate(invalid="ignore"):  # of rounding: no number, which is no result below
                errors = np.sqrt(np.diag(np.linalg.inv(curvature)))
        except np.linalg.LinAlgError:
            return None
        if not np.all(np.isfinite(step)) or np.abs(at).max() > 50:
            return None
        if np.abs(step).max() < 1e-10:
            result = (float(at[0]), float(at[1])), (float(errors[0]), float(errors[-1]) if free_slope else 0.0)
            return result if all(map(math.isfinite, (*result[0], *result[1]))) else None
        scale = 1.0
        while scale > 1e-6:
            trial = at.copy()
            trial[:free] -= scale * step
            if loss(trial) <= now + 1e-12:
                break
            scale /= 2
        at, now = trial, loss(trial)
    return None


def brier(histogram: IntArray, scores: FloatArray = CENTRES) -> tuple[float | None, float | None]:
    """Mean squared error of the scores that the bins stand for, and its standard error."""
    n = int(histogram.sum())
    if not n:
        return None, None
    errors = np.stack([scores**2, (1 - scores) ** 2])
    mean = float((histogram * errors).sum() / n)
    spread = float((histogram * (errors - mean) ** 2).sum() / n)
    return mean, math.sqrt(spread / n)


def log_loss(histogram: IntArray, scores: FloatArray) -> float | None:
    """Mean log loss (nats) of the scores that the bins stand for."""
    n = int(histogram.sum())
    if not n:
        return None
    x = logit(scores)
    return float((histogram[0] @ np.logaddexp(0, x) + histogram[1] @ np.logaddexp(0, -x)) / n)


def reliability(histogram: IntArray, scores: FloatArray = CENTRES, least: int = 1) -> list[dict[str, Any]]:
    """Rows of a reliability table: score `from` and `to`, `embryos`, `good`, and their mean `score`.

    Parameters
    ----------
    histogram : ndarray of int64, (2, BINS)
    scores : ndarray of float64, (BINS,)
        What the bins stand for, ascending.
    least : int (default: 1)
        Neighbouring tenths are put together until a row has as many embryos; what is left joins the row before.
    """
    tenths = tenth_of(scores)
    rows: list[dict[str, Any]] = []
    open_row: dict[str, Any] | None = None
    for number in range(CALIBRATION_BINS):
        here = histogram[:, tenths == number]
        if open_row is None:
            open_row = {"from": number / CALIBRATION_BINS, "to": 0.0, "embryos": 0, "good": 0, "score": 0.0}
        open_row["to"] = (number + 1) / CALIBRATION_BINS
        open_row["embryos"] += int(here.sum())
        open_row["good"] += int(here[1].sum())
        open_row["score"] += float(here.sum(axis=0) @ scores[tenths == number])
        if open_row["embryos"] >= max(least, 1):
            rows.append(open_row)
            open_row = None
    if open_row is not None and rows:
        last = rows[-1]
        last |= {key: last[key] + open_row[key] for key in ("embryos", "good", "score")} | {"to": 1.0}
    for row in rows:
        row["score"] = round(row["score"] / row["embryos"], 4)
    return rows if sum(row["embryos"] for row in rows) >= least else []
