"""Charts of a run's results, for console and model card: ROC, reliability, decision curve, metrics over the rounds."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from embryofl.charts import Axis, Point, Series, chart, fitted, rounds_axis
from embryofl.texts import load_texts

_Z = 1.96
MOST_DOTS = 30  # of a line that also marks its points
MOST_NAMED = 6  # thin lines that are named; of more, the best and the worst

Results = dict[str, Any]
texts = load_texts(__package__)
t = texts.chart


def of_results(results: Results) -> str:
    """The three charts of a day's results, as HTML."""
    return roc(results) + reliability(results) + decision(results)


def roc(results: Results) -> str:
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
    return chart(t.roc, summary, Axis(t.false_positives), Axis(t.sensitivity), series)


def reliability(results: Results) -> str:
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


def decision(results: Results) -> str:
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


def by_round(metric: str, courses: Mapping[str, Sequence[Sequence[float]]], clinics: Collection[str] = ()) -> str:
    """AUROC or loss on validation patients by round, a line per name; "" if none has two points.

    Parameters
    ----------
    metric : {"auroc", "loss"}
    courses : mapping of str to sequence
        Of points: round, value, and of an AUROC what it is known to either way, which is drawn as a band.
    clinics : collection of str
        The names among them whose lines are thin and without a band; of many, only the best and the worst are named.
    """
    alone = len(courses) == 1
    lines = [_course(name, points, alone, name in clinics) for name, points in courses.items() if points[1:]]
    if not lines:
        return ""
    thin = sorted((line for line in lines if line.thin), key=lambda line: line.points[-1][1])
    hidden = {line.name for line in thin[1:-1]} if len(thin) > MOST_NAMED else set()
    lines = [replace(line, label=line.name not in hidden) for line in lines]
    described = {False: 5 if alone or clinics else 1, True: 1}  # newest rounds of a line, by whether it is thin
    values = [
        [t.round_is.format(round=int(x), value=f"{y:.3f}") for x, y in line.points[-described[line.thin] :]]
        for line in lines
    ]
    said = [(line, its) for line, its in zip(lines, values, strict=True) if line.label]
    summary = "; ".join(f"{line.name}, {', '.join(its)}" for line, its in said)
    levels = [y for line in lines for _, *ys in (*line.points, *line.band) for y in ys]
    ends = {"low": min(0.5, *levels), "high": 1.0} if metric == "auroc" else {}  # AUROC: 0.5 and 1 are on the axis
    rounds, name = rounds_axis(t.round, max(line.points[-1][0] for line in lines)), texts.metric[metric]
    note = t.band if any(line.band for line in lines) else ""
    return chart(
        t.by_round.format(metric=name), summary, rounds, fitted(name, levels, **ends), lines, note, direct=True
    )


def margin(metrics: Mapping[str, Any]) -> float:
    """To what an AUROC is known either way: half of its 95 % interval, and the order that grouping hides."""
    return _Z * float(metrics.get("auroc_se") or 0.0) + float(metrics.get("auroc_blur") or 0.0)


def _course(name: str, points: Sequence[Sequence[float]], alone: bool, thin: bool) -> Series:
    line: list[Point] = [(point[0], point[1]) for point in points]
    band = [(x, max(0.0, y - margin), min(1.0, y + margin)) for x, y, *more in points for margin in more]
    drawn = not thin and any(high > low for _, low, high in band)
    return Series(name, line, band=band if drawn else [], dots=alone and len(points) <= MOST_DOTS, thin=thin)
