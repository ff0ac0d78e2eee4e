"""The page Results: metrics with intervals, charts, the model card in a sandboxed frame, downloads."""

from collections.abc import Iterator
from typing import Any

from embryofl.result_charts import by_round, of_results
from embryofl_console.texts import texts
from embryofl_console.views.clinics import day_name
from embryofl_console.views.parts import e, facts, meaning, p, table, whose

State = dict[str, Any]
t = texts.results
CALIBRATION = (("slope", 2), ("in_the_large", 2), ("ece", 3), ("brier", 3))  # with digits
RANKING = ("ndcg", "tau", "critical")


def clinics(results: State) -> list[tuple[str, str]]:
    """Choices of whose results."""
    names = sorted({n for split in results["splits"].values() for n in split["clinics"]})
    return [(whose(n), n) for n in ("pooled", *names)]


def days(results: State) -> list[tuple[str, str]]:
    """Choices of days."""
    every = {d for s in results["splits"].values() for by_day in (s["pooled"], *s["clinics"].values()) for d in by_day}
    return [(day_name(d), d) for d in ("all", *sorted(every - {"all"}, key=int))]


def metric(value: State | None, digits: int = 3) -> str:
    """A metric with its 95 % interval, or a dash."""
    if not value:
        return "-"
    text = f"{value['value']:.{digits}f}"
    if not value.get("interval"):
        return text
    low, high = (f"{end:.2f}" for end in value["interval"])
    return f'{text} <span class="interval">({texts.common.interval.format(low=low, high=high)})</span>'


def head(name: str, results: State) -> str:
    """The run and its settings, warnings, and downloads."""
    settings, threshold = results["settings"], results["threshold"]
    parts = [f"<h2>{e(name)}</h2>", p(texts.page.research, "use")]
    for warning in results["warnings"]:
        kind, title = ("warn stop", t.stop_first) if warning["level"] == "stop" else ("warn", t.warning)
        parts.append(f'<p class="{kind}"><strong>{e(title)}</strong> {e(warning["words"])}</p>')
    pairs = [
        (texts.common.model, e(settings["model"])),
        (texts.common.strategy, e(settings["strategy"])),
        (t.model_of, e(texts.common.of.format(n=results["round"], of=settings["rounds"]))),
        (texts.common.label, meaning(results["meaning"])),
        (texts.overview.updates, e(results["updates"])),
        (texts.overview.metrics, e(results["metrics_seen"])),
        (t.threshold, e(f"{threshold['value']:.3f}: {threshold['rule']}")),
    ]
    links = "".join(
        f'<li><a href="/download/{e(name)}/{file}" download>{e(file)}</a> {e(about)}</li>'
        for file, about in texts.file.items()
    )
    return "".join([*parts, facts(pairs), f'<h3>{e(t.downloads)}</h3><ul class="files">{links}</ul>'])


def page(results: State, split: str, clinic: str, day: str) -> str:
    """The metrics of all clinics, and the charts of the chosen clinic and day."""
    of_split = results["splits"][split]
    parts = [f"<h3>{e(t.title.format(split=texts.split[split]))}</h3>", _metrics(of_split)]
    chosen = (of_split["pooled"] if clinic == "pooled" else of_split["clinics"].get(clinic, {})).get(day)
    parts.append(f"<h3>{e(f'{whose(clinic)}, {day_name(day)}')}</h3>")
    if not chosen or not chosen["n"]:
        return "".join([*parts, p(t.withheld if chosen and chosen["withheld"] else t.nothing)])
    charts = of_results(chosen)
    if clinic == "pooled" and day == "all":
        charts += "".join(_course(results["rounds"], name) for name in ("auroc", "loss"))
    parts += [_calibration(chosen), _confusion(chosen), f'<div class="charts">{charts}</div>']
    uses = [p(t.intervals, "use"), p(texts.page.research, "use")]
    return "".join([*parts, _ranking(of_split), _grades(results["grades"][split]), *uses])


def _course(rounds: list[State], name: str) -> str:
    rounds = [r for r in rounds if r["pooled"][name] is not None]
    points = [(r["round"], r["pooled"][name], r["pooled"].get(f"{name}_blur", 0.0)) for r in rounds]
    return by_round(name, {texts.common.all_clinics: points})


def _rows(of_split: State) -> Iterator[tuple[str, str, State]]:
    for name, by_day in (("pooled", of_split["pooled"]), *of_split["clinics"].items()):
        for day, results in by_day.items():
            yield of_split["whose"] if name == "pooled" else name, day, results


def _metrics(of_split: State) -> str:
    rows = []
    for name, day, of_day in _rows(of_split):
        head = [e(name), e(day_name(day)).replace(" ", "&nbsp;")]
        if of_day["n"]:
            at, best = of_day["confusion"], of_day["after"] or of_day["before"]
            values = (of_day["auroc"], of_day["auprc"], best["brier"], at["sensitivity"], at["specificity"])
            rows.append([*head, e(of_day["n"]), e(of_day["positives"]), *map(metric, values)])
        elif of_day["withheld"]:
            rows.append([*head, e(t.too_few), *["-"] * 6])
    return p(t.caption, "use") + table(t.columns, rows, t.caption, headed=True) if rows else p(t.nothing)


def _confusion(results: State) -> str:
    at = results["confusion"]
    counts = [
        [e(t.label_1), e(at["true_positives"]), e(at["false_negatives"])],
        [e(t.label_0), e(at["false_positives"]), e(at["true_negatives"])],
    ]
    title = t.confusion_at.format(threshold=f"{at['threshold']:.3f}")
    return table(t.confusion, counts, title, "narrow") + facts([(v, metric(at[k])) for k, v in texts.rate.items()])


def _calibration(results: State) -> str:
    rows = [
        [e(texts.scores[name]), *(metric(part[key], digits) for key, digits in CALIBRATION)]
        for name in ("before", "after")
        if (part := results[name])
    ]
    return table(t.calibration, rows, t.calibration_title)


def _ranking(of_split: State) -> str:
    rows = []
    for name, ranking in ((name, results["ranking"]) for name, day, results in _rows(of_split) if day == "all"):
        if ranking["cohorts"]:
            head = [e(name), e(ranking["cohorts"]), metric(ranking["top"], 2), e(f"{ranking['chance']:.2f}")]
            rows.append([*head, *(metric(ranking[key], 2) for key in RANKING)])
        elif ranking["withheld"]:
            rows.append([e(name), e(t.too_few), *["-"] * 5])
    return table(t.ranking, rows, t.ranking_title) if rows else p(t.no_ranking)


def _grades(grades: State) -> str:
    rows = [
        [e(whose(name)), e(target), e(a["embryos"]), f"{a['exact']:.2f}", f"{a['distance']:.2f}"]
        for name, targets in grades.items()
        for target, a in targets.items()
    ]
    return table(t.grades, rows, t.grades_title) if rows else ""


def card(name: str, page: str) -> str:
    """The model card as the server wrote it, in a frame in which no script runs and from which nothing is sent."""
    return f'<iframe class="card" sandbox="" title="{e(t.card_of.format(name=name))}" srcdoc="{e(page)}"></iframe>'
