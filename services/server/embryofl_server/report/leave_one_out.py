"""A leave-one-clinic-out study: each clinic's patients scored by a model of the other clinics, and all of these together.

Together: a random-effects meta-analysis on the scale of log odds, as Debray and others advise for prediction models (BMJ
356, i6460, 2017). Variance between clinics by DerSimonian and Laird (Controlled Clinical Trials 7, 1986); interval by
Hartung and Knapp, never narrower than without their correction (Röver and others, BMC Medical Research Methodology 15,
2015); I-squared by Higgins and Thompson (Statistics in Medicine 21, 2002).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from scipy.special import expit, logit, stdtrit

from embryofl.charts import fitted, interval, scale
from embryofl.metrics.from_histogram import Z
from embryofl_server.report.metrics import DIGITS, Metric
from embryofl_server.report.pages import page

Results = dict[str, Any]
INTERVAL = 0.975  # quantile of a 95 % interval


def leave_one_out(runs: Mapping[str, Results]) -> dict[str, Any]:
    """The study's results.

    Parameters
    ----------
    runs : mapping of str to dict
        The clinic that was left out, to `results.json` of the run without it, which has been validated at it.

    Returns
    -------
    dict
        `rows`: `clinic`, `run`, `internal` and `external` (each `n`, `positives`, `auroc`), `why` there is no external
        AUROC. `internal`: the runs' mean AUROC (without an interval: they share patients). `external`: the clinics' AUROC
        together (`random_effects`). `settings`, `use`: the first run's.
    """
    rows = [
        {
            "clinic": clinic,
            "run": results["run"],
            "internal": _found(results["splits"]["test"]["pooled"]["all"]),
            **_external(clinic, results["external"]),
        }
        for clinic, results in runs.items()
    ]
    first = next(iter(runs.values()))
    inside = [row["internal"]["auroc"]["value"] for row in rows if row["internal"]["auroc"]]
    return {
        "rows": rows,
        "internal": round(sum(inside) / len(inside), DIGITS) if inside else None,
        "external": random_effects([row["external"]["auroc"] for row in rows]),
        "settings": first["settings"],
        "use": first["use"],
    }


def random_effects(found: Sequence[Metric | None]) -> dict[str, Any] | None:
    """Several AUROCs together; None if there are fewer than two with a standard error.

    Returns
    -------
    dict
        `clinics` that count (an AUROC of 0 or 1, or without an interval, does not), `value`, its 95 % `interval`, the 95 %
        `prediction` interval of a further clinic (None for fewer than three), `i_squared` (0 to 1).
    """
    used = [(m["value"], error) for m in found if m and 0 < m["value"] < 1 and (error := _error(m))]
    if len(used) < 2:
        return None
    y = [float(logit(value)) for value, _ in used]
    mean, error, between, i_squared = combined(y, [(error / (value * (1 - value))) ** 2 for value, error in used])
    further = math.sqrt(between + error**2)
    return {
        "clinics": len(used),
        "value": round(float(expit(mean)), DIGITS),
        "interval": _interval(mean, error, len(used) - 1),
        "prediction": _interval(mean, further, len(used) - 2) if len(used) > 2 else None,
        "i_squared": round(i_squared, DIGITS),
    }


def combined(y: Sequence[float], variances: Sequence[float]) -> tuple[float, float, float, float]:
    """Estimates of two or more studies with their variances: mean, its standard error, variance between them, I-squared."""
    freedom, w = len(y) - 1, [1 / v for v in variances]
    q = _squares(w, y, _mean(w, y))
    between = max(0.0, (q - freedom) / (sum(w) - sum(x**2 for x in w) / sum(w)))
    w = [1 / (v + between) for v in variances]
    mean = _mean(w, y)
    error = math.sqrt(max(1.0, _squares(w, y, mean) / freedom) / sum(w))
    return mean, error, between, max(0.0, (q - freedom) / q) if q else 0.0


def in_words(study: Results) -> list[str]:
    """What comes out, in sentences."""
    words, one = [], study["external"]
    if study["internal"] is not None:
        words.append(f"Clinics that trained: AUROC {study['internal']:.3f} on average. The runs share patients.")
    if one is None:
        words.append("Clinics left out: fewer than two have an AUROC with a standard error, so there is none together.")
    else:
        low, high = one["interval"]
        text = f"Clinics left out, {one['clinics']} together: AUROC {one['value']:.3f} ({low:.2f} to {high:.2f})"
        if one["prediction"]:
            low, high = one["prediction"]
            text += f"; to be expected of a further clinic: {low:.2f} to {high:.2f}"
        words.append(f"{text}; I-squared {100 * one['i_squared']:.0f} %.")
    words.append("Random effects on the log odds of AUROC; intervals are 95 % and treat embryos as independent.")
    return [*words, study["use"]]


def html(study: Results) -> str:
    """The study as one page, with a forest plot; it loads nothing and runs no script."""
    every = [one for row in study["rows"] for one in (row["internal"]["auroc"], row["external"]["auroc"])]
    ends = [end for one in every if one and one["interval"] for end in one["interval"]]
    axis = fitted("", [], low=min([0.5, *ends]), high=1.0)

    def drawn(auroc: Metric | None, together: float | None) -> str:
        if not auroc or not auroc["interval"]:
            return ""
        low, high = auroc["interval"]
        return Markup(interval(auroc["value"], low, high, axis, together))  # noqa: S704 - numbers

    settings = ", ".join(f"{name}: {value}" for name, value in study["settings"].items() if name != "clinics")
    shown = {
        "study": study,
        "words": in_words(study),
        "settings": settings,
        "drawn": drawn,
        "axis": Markup(scale(axis)),  # noqa: S704 - numbers
    }
    return page("leave_one_out.html.j2", **shown)


def _external(clinic: str, external: Results | None) -> dict[str, Any]:
    days = (external or {"clinics": {}})["clinics"].get(clinic)
    if days:
        return {"external": _found(days["all"]), "why": ""}
    why = [one["why"][clinic] for one in (external or {"validations": []})["validations"] if clinic in one["why"]]
    return {"external": {"n": 0, "positives": 0, "auroc": None}, "why": why[-1] if why else "not validated there"}


def _found(metrics: Results) -> dict[str, Any]:
    return {key: metrics[key] for key in ("n", "positives", "auroc")}


def _error(metric: Metric) -> float:
    """The standard error, from the end of the interval that is not cut off; 0.0 if there is none."""
    if not metric["interval"]:
        return 0.0
    low, high = metric["interval"]
    return float((metric["value"] - low if low > 0 else high - metric["value"]) / Z)


def _mean(weights: Sequence[float], values: Sequence[float]) -> float:
    return sum(w * x for w, x in zip(weights, values, strict=True)) / sum(weights)


def _squares(weights: Sequence[float], values: Sequence[float], mean: float) -> float:
    return sum(w * (x - mean) ** 2 for w, x in zip(weights, values, strict=True))


def _interval(mean: float, error: float, freedom: int) -> list[float]:
    margin = float(stdtrit(freedom, INTERVAL)) * error
    return [round(float(expit(mean + side * margin)), DIGITS) for side in (-1, 1)]
