"""External validation in `results.json`: the final model at clinics that had no part in it, against the internal results.

Its embryos are those of these clinics' validation and test patients together: neither had a part in this model, and no run
trains on them. Threshold and calibration are those learned on the run's own validation patients. TRIPOD+AI asks for
discrimination and calibration with intervals (items 12e and 23a) and for the difference from development.
"""

import math
import time
from typing import Any

from embryofl.metrics import ScoreSums, merge
from embryofl_server.report.calibration import Calibration
from embryofl_server.report.metrics import DIGITS, Metric, metrics_by_clinic
from embryofl_server.runs.evaluation import released_sums

SPLITS = ("validation", "test")
COMPARED = ("auroc", "auprc", "brier", "ece", "in_the_large", "slope")


def external_validation(
    record: dict[str, Any], internal: dict[str, Any], calibration: Calibration | None, threshold: float
) -> dict[str, Any] | None:
    """All external validations of a model together; None if there is none.

    Parameters
    ----------
    record : dict
        What `model.json` holds.
    internal : dict
        Pooled metrics of all days on the run's own test patients.
    calibration : Calibration or None
    threshold : float

    Returns
    -------
    dict
        `validations` (`date`, `clinics` asked, `own` and `together`: who answered how, `why` others did not), `origin`,
        `pooled` and `clinics` as in a split, and `compared`: the metrics in `COMPARED`, each with `internal`, `external`
        and `difference`.
    """
    done = record.get("external", [])
    if not done:
        return None
    sums: dict[str, ScoreSums] = {}
    for one in done:
        for split in SPLITS:
            for name, part in released_sums(one, split).items():
                sums[name] = merge([sums[name], part]) if name in sums else part
    tables = metrics_by_clinic(dict(sorted(sums.items())), calibration, threshold)
    return {
        "validations": [_told(one) for one in done],
        "origin": done[-1]["origin"],
        **tables,
        "compared": compared(internal, tables["pooled"]["all"]),
    }


def _told(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime(one["asked"])),
        "clinics": one["clinics"],
        "own": sorted(one["evaluation"]),
        "together": one["pooled"].get("clinics", []),
        "why": one["why"],
        "incomplete": one["incomplete"],
    }


def compared(internal: dict[str, Any], external: dict[str, Any]) -> list[dict[str, Any]]:
    """External minus internal, metric by metric; calibrated probabilities where a calibration was learned."""
    rows = []
    for name in COMPARED:
        inside, outside = _found(internal, name), _found(external, name)
        if inside or outside:
            difference = _difference(outside, inside) if inside and outside else None
            rows.append({"metric": name, "internal": inside, "external": outside, "difference": difference})
    return rows


def _found(metrics: dict[str, Any], name: str) -> Metric | None:
    of = metrics if name in metrics else metrics["after"] or metrics["before"]
    found: Metric | None = of[name]
    return found


def _difference(one: Metric, other: Metric) -> Metric:
    """With a 95 % interval from those of both (Zou and Donner, Statistics in Medicine 27, 2008): patients differ, so they
    are independent."""
    value = one["value"] - other["value"]
    interval = None
    if one["interval"] and other["interval"]:
        (low, high), (other_low, other_high) = one["interval"], other["interval"]
        below = math.hypot(one["value"] - low, other_high - other["value"])
        above = math.hypot(high - one["value"], other["value"] - other_low)
        interval = [round(value - below, DIGITS), round(value + above, DIGITS)]
    return {"value": round(value, DIGITS), "interval": interval}
