"""How a run went, round by round: figures of each round's model on validation patients, and drift.

Drift of the data is seen in how the scores and labels of a clinic's validation patients move against each other; drift of
a clinic's updates in how far its model is from the others' (`distance`).
"""

from typing import Any

from embryofl.metrics import ScoreSums, merge
from embryofl.metrics.bins import CENTRES
from embryofl.metrics.calibration import line

MOST_ROUNDS = 200
"""Rounds in `results.json`; of more, so many that are evenly spaced, with the first and the last."""


def course(records: list[dict[str, Any]], threshold: float) -> list[dict[str, Any]]:
    """One entry a round whose model was evaluated: `round`, `pooled` and `clinics` (figures), and `training`.

    Parameters
    ----------
    records : list of dict
        Records of the rounds (see `checkpoint`); that of round r holds the validation sums of the model of round r - 1.
    threshold : float
        The final model's.
    """
    rounds = []
    for record in _spaced([r for r in records if r["round"] > 0]):
        clinics: dict[str, Any] = record.get("clinics", {})
        sums = {
            n: ScoreSums.from_dict(clinics[n]["validation"]) for n in sorted(clinics) if clinics[n].get("validation")
        }
        rounds.append(
            {
                "round": record["round"] - 1,
                "pooled": _figures(merge(sums.values()), threshold),
                "clinics": {name: _figures(found, threshold) for name, found in sums.items()},
                "training": {
                    name: {
                        "round": record["round"],
                        "loss": c.get("train_loss"),
                        "distance": c.get("distance"),
                        "norm": c.get("norm"),
                        "examples": c.get("examples"),
                    }
                    for name, c in sorted(clinics.items())
                },
            }
        )
    return rounds


def _figures(sums: ScoreSums, threshold: float) -> dict[str, Any]:
    found, histogram = sums.summary(threshold=threshold), sums.pooled().histogram
    fit = line(histogram)
    return {
        "n": found.n,
        "positives": found.positives,
        "auroc": found.auroc,
        "auroc_se": found.auroc_se,
        "loss": found.loss,
        "brier": found.brier,
        "ece": found.ece,
        "sensitivity": found.sensitivity,
        "specificity": found.specificity,
        "mean_score": float(histogram.sum(axis=0) @ CENTRES / found.n) if found.n else None,
        "slope": fit.slope if fit else None,
        "in_the_large": fit.in_the_large if fit else None,
    }


def _spaced(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(records) <= MOST_ROUNDS:
        return records
    step = (len(records) - 1) / (MOST_ROUNDS - 1)
    return [records[round(number * step)] for number in range(MOST_ROUNDS)]
