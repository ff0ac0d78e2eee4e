"""All metrics of some embryos, with 95 % intervals, from their sums."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from embryofl.metrics import ScoreSums, merge
from embryofl.metrics.bins import CENTRES, FloatArray, IntArray
from embryofl.metrics.from_histogram import Z, auprc_interval, auroc_interval, bootstrap, calibration_error, wilson
from embryofl.metrics.ranking import RankingSums
from embryofl_server.report import calibration as recalibration
from embryofl_server.report.calibration import Calibration
from embryofl_server.report.decision import confusion, decision_curve
from embryofl_server.runs.evaluation import TOGETHER

DIGITS = 6
"""Decimals in `results.json`."""

Metric = dict[str, Any]


def metrics_of(
    clinics: Sequence[ScoreSums], day: int | None, calibration: Calibration | None, threshold: float
) -> dict[str, Any]:
    """Metrics of one day, or of all days together.

    Parameters
    ----------
    clinics : sequence of ScoreSums
        Of one clinic, or of several whose embryos are taken together.
    day : int or None
    calibration : Calibration or None
        Learned on validation patients.
    threshold : float
        Of the model's own score.

    Returns
    -------
    dict
        A metric is ``{"value", "interval"}``, or None where it cannot be computed.
    """
    sums = merge(clinics)
    pooled, summary = sums.pooled(day), sums.summary(day, threshold)
    histogram = pooled.histogram
    fpr, tpr, at = sums.roc(day)
    probabilities = calibration.apply(CENTRES) if calibration else None
    metrics: dict[str, Any] = _rounded(
        {
            "n": summary.n,
            "positives": summary.positives,
            "withheld": summary.withheld,
            "auroc": metric(summary.auroc, auroc_interval(summary.auroc, summary.auroc_se)),
            "auprc": metric(summary.auprc, auprc_interval(summary.auprc, summary.positives)),
            "before": _probabilities(histogram, CENTRES),
            "after": _probabilities(histogram, probabilities) if probabilities is not None else None,
            "confusion": confusion(histogram, threshold) if summary.n else None,
            "roc": _corners(fpr, tpr, at),
            "decision": decision_curve(histogram, CENTRES if probabilities is None else probabilities),
            "ranking": ranking(pooled.ranking),
        }
    )
    return metrics


def metrics_by_clinic(
    by_clinic: dict[str, ScoreSums], calibration: Calibration | None, threshold: float
) -> dict[str, Any]:
    """`pooled`, and `clinics` by name without `TOGETHER`: each a dict of day, or "all", to `metrics_of`."""

    def by_day(*clinics: ScoreSums) -> dict[str, Any]:
        days = {"all": None, **{str(day): day for day in sorted({day for sums in clinics for day in sums.days})}}
        return {name: metrics_of(clinics, day, calibration, threshold) for name, day in days.items()}

    clinics = {name: by_day(sums) for name, sums in by_clinic.items() if name != TOGETHER}
    return {"pooled": by_day(*by_clinic.values()), "clinics": clinics}


def metric(value: float | None, interval: tuple[float, float] | None) -> Metric | None:
    """A value with its interval."""
    return None if value is None else {"value": value, "interval": list(interval) if interval else None}


def normal(value: float, error: float) -> Metric:
    """A value with the interval of its standard error."""
    return {"value": value, "interval": [value - Z * error, value + Z * error]}


def _probabilities(histogram: IntArray, scores: FloatArray) -> dict[str, Any]:
    """What scores are worth as probabilities; `scores` are those that the bins stand for."""
    fit = recalibration.line(histogram, scores)
    brier, brier_se = recalibration.brier(histogram, scores)
    n = int(histogram.sum())
    return {
        "loss": recalibration.log_loss(histogram, scores),
        "brier": None if brier is None or brier_se is None else normal(brier, brier_se),
        "ece": metric(calibration_error(histogram, scores), bootstrap(histogram, scores)),
        "mean_score": float(histogram.sum(axis=0) @ scores / n) if n else None,
        "slope": normal(fit.slope, fit.slope_se) if fit else None,
        "intercept": normal(fit.intercept, fit.intercept_se) if fit else None,
        "in_the_large": normal(fit.in_the_large, fit.in_the_large_se) if fit else None,
        "reliability": [_row(row) for row in recalibration.reliability(histogram, scores)],
    }


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "interval": list(wilson(row["good"], row["embryos"]) or ())}


def _corners(fpr: FloatArray, tpr: FloatArray, thresholds: FloatArray) -> list[list[float]]:
    """Points of the ROC curve where it turns: [1 - specificity, sensitivity, threshold]."""
    if not len(fpr):
        return []
    steps = np.stack([np.diff(fpr), np.diff(tpr)], axis=1)
    moves = np.any(steps > 0, axis=1)
    keep = np.concatenate([[True], moves])
    return [[float(a), float(b), float(t)] for a, b, t in zip(fpr[keep], tpr[keep], thresholds[keep], strict=True)]


def ranking(sums: RankingSums) -> dict[str, Any]:
    """Means over cohorts."""
    n = sums.cohorts
    if not n:
        return {"cohorts": 0, "withheld": sums.withheld}

    def mean(total: float, squares: float, least: float) -> Metric:
        spread = max(squares / n - (total / n) ** 2, 0.0)
        average = normal(total / n, math.sqrt(spread / n))
        return {**average, "interval": [min(max(x, least), 1.0) for x in average["interval"]]}  # no cohort has more

    return {
        "cohorts": n,
        "embryos": sums.embryos,
        "withheld": sums.withheld,
        "top": metric(sums.top / n, wilson(sums.top, n)),
        "chance": sums.chance / n,
        "ndcg": mean(sums.ndcg, sums.ndcg_squared, 0.0),
        "tau": mean(sums.tau, sums.tau_squared, -1.0),
        "critical": metric(sums.critical / n, wilson(sums.critical, n)),
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(x) for key, x in value.items()}
    if isinstance(value, list):
        return [_rounded(x) for x in value]
    return value
