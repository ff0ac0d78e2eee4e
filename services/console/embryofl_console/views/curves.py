"""Charts of a run's results: ROC, reliability, decision curve, and how it went over the rounds."""

from typing import Any

from embryofl_console import texts
from embryofl_console.views.plots import Axis, Series, chart, fitted, rounds_axis

State = dict[str, Any]


def roc(f: State) -> str:
    """Sensitivity against 1 - specificity, with the point of the threshold."""
    if not f["roc"]:
        return ""
    at = f["confusion"]
    series = [
        Series(texts.ROC, [(x, y) for x, y, _ in f["roc"]]),
        Series(texts.CHANCE, [(0, 0), (1, 1)], reference=True),
    ]
    said = texts.ROC_SAID.format(auroc=f"{f['auroc']['value']:.3f}" if f["auroc"] else "-")
    if at["sensitivity"] and at["specificity"]:
        point = (1 - at["specificity"]["value"], at["sensitivity"]["value"])
        series.insert(1, Series(texts.AT_THRESHOLD, [point]))
        said += " " + texts.ROC_POINT.format(sens=f"{point[1]:.2f}", spec=f"{1 - point[0]:.2f}")
    return chart(texts.ROC_TITLE, said, Axis(texts.FALSE_POSITIVES), Axis(texts.SENSITIVITY), series)


def reliability(f: State) -> str:
    """Share of good embryos against the probability that was told, with intervals."""
    series: list[Series] = []
    for words, part in ((texts.AFTER, f["after"]), (texts.BEFORE, f["before"])):
        rows = part["reliability"] if part else []
        if rows:
            points = [(r["score"], r["good"] / r["embryos"]) for r in rows]
            bars = [(r["score"], *r["interval"]) for r in rows if r["interval"]] if not series else []
            series.append(Series(words, points, bars, dots=True))
    if not series:
        return ""
    said = "; ".join(texts.RELIABLE.format(score=f"{x:.2f}", share=f"{y:.2f}") for x, y in series[0].points)
    series.append(Series(texts.PERFECT, [(0, 0), (1, 1)], reference=True))
    return chart(texts.RELIABILITY_TITLE, said, Axis(texts.TOLD), Axis(texts.SHARE_GOOD), series)


def decision(f: State) -> str:
    """Net benefit by threshold probability."""
    rows = f["decision"]
    if not rows:
        return ""
    model, all_ = ([(r["p"], r[key]) for r in rows] for key in ("model", "all"))
    high = max(0.05, *(y for _, y in [*model, *all_]))
    said = ", ".join(texts.BENEFIT_AT.format(p=f"{x:.2f}", benefit=f"{y:+.3f}") for x, y in model[1::4])
    series = [
        Series(texts.BY_MODEL, model),
        Series(texts.CALL_ALL, all_),
        Series(texts.CALL_NONE, [(0, 0), (1, 0)], reference=True),
    ]
    return chart(
        texts.DECISION_TITLE, said, Axis(texts.THRESHOLD_P), fitted(texts.BENEFIT, [], low=-high / 3, high=high), series
    )


def course(rounds: list[State]) -> list[str]:
    """AUROC and loss on validation patients, by round."""
    drawn = []
    for key, name in (("auroc", texts.AUROC), ("loss", texts.LOSS)):
        pooled = [(float(r["round"]), r["pooled"][key]) for r in rounds if r["pooled"][key] is not None]
        if len(pooled) < 2:
            continue
        said = ", ".join(texts.ROUND_IS.format(round=int(x), value=f"{y:.3f}") for x, y in pooled[-5:])
        values = [y for _, y in pooled]
        up = fitted(name, values, high=1.0, low=min(0.5, *values)) if key == "auroc" else fitted(name, values)
        title = f"{name}, {texts.ON_VALIDATION}"
        drawn.append(
            chart(title, said, rounds_axis(texts.ROUND, pooled[-1][0]), up, [Series(texts.ALL_CLINICS, pooled)])
        )
    return drawn
