"""How a run went, round by round: results of each round's model on validation patients, and drift.

Drift of the data shows in how the scores and labels of a clinic's validation patients move against each other; drift of a
clinic's updates in how far its model is from the others' (`distance`).
"""

from typing import Any

from embryofl.metrics import ScoreSums, merge
from embryofl.metrics.bins import CENTRES
from embryofl_server.report.calibration import line
from embryofl_server.runs.view import evenly_spaced

MOST_ROUNDS = 200
"""Rounds in `results.json`; of more rounds, this many evenly spaced ones."""


def course(records: list[dict[str, Any]], threshold: float) -> list[dict[str, Any]]:
    """One entry per round whose model was evaluated: `round`, `pooled` and `clinics` (results), and `training`.

    Parameters
    ----------
    records : list of dict
        Records of the rounds (see `checkpoint`); that of round r holds the validation sums of the model of round r - 1.
    threshold : float
        The final model's.
    """
    rounds = evenly_spaced([r for r in records if r["round"] > 0], MOST_ROUNDS)
    return [_entry(record, threshold) for record in rounds]


def _entry(record: dict[str, Any], threshold: float) -> dict[str, Any]:
    clinics = dict(sorted(record.get("clinics", {}).items()))
    sums = {name: ScoreSums.from_dict(c["validation"]) for name, c in clinics.items() if c.get("validation")}
    training = {
        name: {
            "round": record["round"],
            "loss": c.get("train_loss"),
            **{key: c.get(key) for key in ("distance", "norm", "examples")},
        }
        for name, c in clinics.items()
    }
    return {
        "round": record["round"] - 1,
        "pooled": _results(merge(sums.values()), threshold),
        "clinics": {name: _results(clinic_sums, threshold) for name, clinic_sums in sums.items()},
        "training": training,
    }


def _results(sums: ScoreSums, threshold: float) -> dict[str, Any]:
    summary, histogram = sums.summary(threshold=threshold), sums.pooled().histogram
    fit = line(histogram)
    metrics = ("n", "positives", "auroc", "auroc_se", "loss", "brier", "ece", "sensitivity", "specificity")
    return {
        **{name: getattr(summary, name) for name in metrics},
        "mean_score": float(histogram.sum(axis=0) @ CENTRES / summary.n) if summary.n else None,
        "slope": fit.slope if fit else None,
        "in_the_large": fit.in_the_large if fit else None,
    }
