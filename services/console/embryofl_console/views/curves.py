"""Charts of a run's results: ROC, reliability, decision curve, and metrics over the rounds."""

from collections.abc import Sequence
from typing import Any

from embryofl_console.texts import texts
from embryofl_console.views.plots import Axis, Point, Series, chart, fitted, rounds_axis

State = dict[str, Any]
t = texts.chart


def roc(results: State) -> str:
    """Sensitivity against 1 - specificity, with the point of the threshold."""
    if not results["roc"]:
        return ""
    at, auroc = results["confusion"], results["auroc"]
    series = [
        Series(t.model, [(x, y) for x, y, _ in results["roc"]]),
        Series(t.chance, [(0, 0), (1, 1)], reference=True),
    ]
    summary = t.auroc_is.format(auroc=f"{auroc['value']:.3f}" if auroc else "-")
    if at["sensitivity"] and at["specificity"]:
        point = (1 - at["specificity"]["value"], at["sensitivity"]["value"])
        series.insert(1, Series(t.at_threshold, [point]))
        summary += " " + t.point_is.format(sens=f"{point[1]:.2f}", spec=f"{1 - point[0]:.2f}")
    return chart(t.roc, summary, Axis(t.false_positives), Axis(texts.rate.sensitivity), series)


def reliability(results: State) -> str:
    """Observed share of label 1 against the predicted probability, with intervals."""
    series: list[Series] = []
    for name in ("after", "before"):
        rows = results[name]["reliability"] if results[name] else []
        if rows:
            points = [(r["score"], r["good"] / r["embryos"]) for r in rows]
            bars = [(r["score"], *r["interval"]) for r in rows if r["interval"]] if not series else []
            series.append(Series(texts.scores[name], points, bars, dots=True))
    if not series:
        return ""
    summary = "; ".join(t.reliable.format(score=f"{x:.2f}", share=f"{y:.2f}") for x, y in series[0].points)
    series.append(Series(t.perfect, [(0, 0), (1, 1)], reference=True))
    return chart(t.reliability, summary, Axis(t.predicted), Axis(t.observed), series)


def decision(results: State) -> str:
    """Net benefit by threshold probability."""
    rows = results["decision"]
    if not rows:
        return ""
    model, all_ = ([(r["p"], r[key]) for r in rows] for key in ("model", "all"))
    high = max(0.05, *(y for _, y in [*model, *all_]))
    summary = ", ".join(t.benefit_at.format(p=f"{x:.2f}", benefit=f"{y:+.3f}") for x, y in model[1::4])
    none = Series(t.none_1, [(0, 0), (1, 0)], reference=True)
    up = fitted(t.benefit, [], low=-high / 3, high=high)
    return chart(t.decision, summary, Axis(t.threshold), up, [Series(t.by_model, model), Series(t.all_1, all_), none])


def by_round(title: str, metric: str, points: Sequence[Point], *, dots: bool = False) -> str:
    """A metric of all clinics together by round, with the newest values as text; "" for fewer than two points."""
    if len(points) < 2:
        return ""
    summary = ", ".join(texts.common.round_is.format(round=int(x), value=f"{y:.3f}") for x, y in points[-5:])
    line = Series(texts.common.all_clinics, points, dots=dots)
    return chart(title, summary, rounds_axis(texts.common.round, points[-1][0]), metric_axis(metric, [line]), [line])


def metric_axis(metric: str, lines: Sequence[Series]) -> Axis:
    """The axis of AUROC or loss that lines fit on; that of AUROC shows 0.5 and 1."""
    values = [y for line in lines for _, y in line.points]
    ends = {"low": min(0.5, *values), "high": 1.0} if metric == "auroc" else {}
    return fitted(texts.metric[metric], values, **ends)
