"""Decisions by a threshold: how it is fixed, what it does to embryos, and what it is worth.

"Score at or above the threshold" is the rule, and thresholds are edges of bins, so that counts are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from embryofl.metrics import ScoreSums, merge
from embryofl.metrics.bins import CENTRES, EDGES, FloatArray, IntArray, nearest_edge
from embryofl.metrics.from_histogram import wilson
from embryofl.settings import RunSettings
from embryofl_server.report.calibration import LEAST_IN_ROW, LEAST_TO_LEARN, learn, reliability

PROBABILITIES = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Threshold probabilities of a decision curve."""


def choose_threshold(histogram: IntArray, sensitivity: float = 0.0) -> float | None:
    """A threshold by the scores of validation patients; None with too few embryos of a class.

    Parameters
    ----------
    histogram : ndarray of int64, (2, BINS)
    sensitivity : float (default: 0.0)
        0: the threshold with the highest Youden index, sensitivity + specificity - 1 (Youden, Cancer 3, 1950), of
        equals the one nearest to 0.5. Otherwise
        the highest threshold whose sensitivity is at least this.
    """
    counts = histogram.sum(axis=1)
    if not np.all(counts >= LEAST_TO_LEARN):
        return None
    below = np.concatenate([np.zeros((2, 1)), np.cumsum(histogram, axis=1)], axis=1)  # (2, BINS + 1)
    specificities, misses = below / counts[:, None]
    if sensitivity > 0:
        return float(EDGES[np.flatnonzero(1 - misses >= sensitivity - 1e-12).max()])
    index = specificities - misses
    best = np.flatnonzero(index >= index.max() - 1e-12)
    return float(EDGES[best[np.argmin(np.abs(EDGES[best] - 0.5))]])


def learn_calibration(validation: Mapping[str, ScoreSums], settings: RunSettings) -> dict[str, Any] | None:
    """Temperature, intercept, threshold and reliability table of a final model, learned only from the score histograms of
    validation patients; None with too few embryos of a label.

    Parameters
    ----------
    validation : mapping of str to ScoreSums
        All that was released of the final evaluation on validation patients.
    settings : RunSettings

    Returns
    -------
    dict or None
        `temperature` and `intercept`: a probability is ``expit(logit(score) / temperature + intercept)``
        (`report.calibration.Calibration`). `threshold`: of the model's own score, before calibration. `table`: of the
        validation patients, by calibrated probability, rows of at least `LEAST_IN_ROW` embryos.
    """
    histogram = merge(validation[name] for name in sorted(validation)).pooled().histogram
    learned, threshold = learn(histogram), choose_threshold(histogram, settings.threshold_sensitivity)
    if learned is None or threshold is None:
        return None
    rows = reliability(histogram, learned.apply(CENTRES), LEAST_IN_ROW)
    return {
        "temperature": learned.temperature,
        "intercept": learned.intercept,
        "threshold": threshold,
        "learned_on": "validation",
        "table": [{key: row[key] for key in ("from", "to", "embryos", "good")} for row in rows],
    }


def describe_rule(record: dict[str, Any]) -> str:
    """How the threshold was chosen."""
    if not record.get("calibration"):
        return "0.5, because there were too few validation embryos of a label to choose one"
    wanted = record["settings"]["threshold_sensitivity"]
    if wanted:
        return f"the highest with a sensitivity of at least {wanted:g} on validation patients"
    return "the highest Youden index (sensitivity + specificity - 1) on validation patients"


def confusion(histogram: IntArray, threshold: float) -> dict[str, Any]:
    """Counts and rates of the rule "score at or above `threshold`", with 95 % Wilson intervals."""
    cut = nearest_edge(threshold)
    true_negatives, false_negatives = histogram[:, :cut].sum(axis=1).tolist()
    false_positives, true_positives = histogram[:, cut:].sum(axis=1).tolist()
    good, bad = true_positives + false_negatives, true_negatives + false_positives
    called, left = true_positives + false_positives, true_negatives + false_negatives
    return {
        "threshold": float(EDGES[cut]),
        "true_positives": true_positives,
        "false_positives": false_positives,
        "true_negatives": true_negatives,
        "false_negatives": false_negatives,
        "sensitivity": _rate(true_positives, good),
        "specificity": _rate(true_negatives, bad),
        "positive_predictive_value": _rate(true_positives, called),
        "negative_predictive_value": _rate(true_negatives, left),
    }


def _rate(hits: int, of: int) -> dict[str, Any] | None:
    interval = wilson(hits, of)
    return {"value": hits / of, "interval": list(interval)} if interval else None


def decision_curve(histogram: IntArray, scores: FloatArray) -> list[dict[str, float]]:
    """Net benefit at each of `PROBABILITIES`: of the model, and of calling all embryos good. Calling none good has 0.

    Vickers and Elkin, "Decision curve analysis", Medical Decision Making 26 (2006). The net benefit is the share of true
    positives less that of false positives at the exchange rate p / (1 - p).

    Parameters
    ----------
    histogram : ndarray of int64, (2, BINS)
    scores : ndarray of float64, (BINS,)
        The probabilities that the bins stand for.
    """
    n = int(histogram.sum())
    if not n or not np.all(histogram.sum(axis=1) > 0):
        return []
    bad, good = histogram.sum(axis=1) / n
    rows = []
    for p in PROBABILITIES:
        false_positives, true_positives = histogram[:, scores >= p].sum(axis=1) / n
        price = p / (1 - p)
        rows.append(
            {"p": p, "model": float(true_positives - price * false_positives), "all": float(good - price * bad)}
        )
    return rows
