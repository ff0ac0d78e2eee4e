"""Calibration and threshold of a final model, learned only from the score histograms of validation patients."""

from typing import Any

from embryofl.metrics import ScoreSums, merge
from embryofl.metrics.bins import CENTRES
from embryofl.settings import RunSettings
from embryofl_server.report.calibration import LEAST_IN_ROW, Calibration, learn, reliability
from embryofl_server.report.decision import choose_threshold

SPLIT = "validation"


def learn_calibration(evaluation: dict[str, Any], settings: RunSettings) -> dict[str, Any] | None:
    """Temperature, intercept, threshold and reliability table, or None with too few embryos of a label.

    Parameters
    ----------
    evaluation : dict
        The final evaluation by clinic and split, as in `model.json`.
    settings : RunSettings

    Returns
    -------
    dict or None
        `temperature` and `intercept`: a probability is ``expit(logit(score) / temperature + intercept)``
        (`report.calibration.Calibration`). `threshold`: of the model's own score, before calibration. `table`: of the
        validation patients, by calibrated probability, rows of at least `LEAST_IN_ROW` embryos.
    """
    sums = [ScoreSums.from_dict(evaluation[n][SPLIT]) for n in sorted(evaluation) if evaluation[n].get(SPLIT)]
    histogram = merge(sums).pooled().histogram
    learned, threshold = learn(histogram), choose_threshold(histogram, settings.threshold_sensitivity)
    if learned is None or threshold is None:
        return None
    rows = reliability(histogram, learned.apply(CENTRES), LEAST_IN_ROW)
    return {
        "temperature": learned.temperature,
        "intercept": learned.intercept,
        "threshold": threshold,
        "learned_on": SPLIT,
        "table": [{key: row[key] for key in ("from", "to", "embryos", "good")} for row in rows],
    }


def calibration_of(record: dict[str, Any]) -> Calibration | None:
    """The calibration in a `model.json`."""
    learned = record.get("calibration")
    return Calibration(learned["temperature"], learned["intercept"]) if learned else None


def describe_rule(record: dict[str, Any]) -> str:
    """How the threshold was chosen."""
    if not record.get("calibration"):
        return "0.5, because there were too few validation embryos of a label to choose one"
    wanted = record["settings"]["threshold_sensitivity"]
    if wanted:
        return f"the highest with a sensitivity of at least {wanted:g} on validation patients"
    return "the highest Youden index (sensitivity + specificity - 1) on validation patients"
