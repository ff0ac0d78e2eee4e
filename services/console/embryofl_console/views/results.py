"""The page Results: figures with intervals, charts, the model card in a frame that can do nothing, downloads."""

from collections.abc import Iterator
from typing import Any

from embryofl_console import texts
from embryofl_console.views import curves
from embryofl_console.views.parts import e, facts, p, table

State = dict[str, Any]


def with_results(state: State | None) -> list[str]:
    """Runs that have results, the newest first."""
    return [r["name"] for r in reversed((state or {"runs": []})["runs"]) if r["results"]]


def clinics(found: State) -> list[tuple[str, str]]:
    """Choices of whose figures."""
    names = sorted({n for split in found["splits"].values() for n in split["clinics"]})
    return [(texts.ALL_CLINICS, "pooled"), *((n, n) for n in names)]


def days(found: State) -> list[tuple[str, str]]:
    """Choices of days."""
    every = {d for s in found["splits"].values() for days in (s["pooled"], *s["clinics"].values()) for d in days} - {
        "all"
    }
    return [(texts.ALL_DAYS, "all"), *((day_name(d), d) for d in sorted(every, key=int))]


def day_name(day: str) -> str:
    """A day in words."""
    return {"all": texts.ALL_DAYS, "0": texts.DAY_UNKNOWN}.get(day) or texts.DAY.format(day=day)


def figure(value: State | None, digits: int = 3) -> str:
    """A figure with its 95 % interval, or a dash."""
    if not value:
        return "-"
    interval = value.get("interval")
    text = f"{value['value']:.{digits}f}"
    return (
        f'{text} <span class="interval">({interval[0]:.2f} {texts.TO} {interval[1]:.2f})</span>' if interval else text
    )


def head(name: str, found: State) -> str:
    """What was trained, what to be warned of, what can be taken away."""
    settings = found["settings"]
    parts = [f"<h2>{e(name)}</h2>", p(texts.RESEARCH, "use")]
    for warning in found["warnings"]:
        stop = warning["level"] == "stop"
        parts.append(
            f'<p class="warn{" stop" if stop else ""}"><strong>{e(texts.STOP_FIRST if stop else texts.WARNING)}'
            f"</strong> {e(warning['words'])}</p>"
        )
    parts.append(
        facts(
            [
                (texts.MODEL, e(settings["model"])),
                (texts.STRATEGY, e(settings["strategy"])),
                (texts.MODEL_OF, e(texts.OF.format(n=found["round"], of=settings["rounds"]))),
                (texts.LABEL_MEANS, e(texts.MEANINGS.get(found["meaning"], found["meaning"]))),
                (texts.THRESHOLD, e(f"{found['threshold']['value']:.3f}: {found['threshold']['rule']}")),
            ]
        )
    )
    links = "".join(
        f'<li><a href="/download/{e(name)}/{file}" download>{e(file)}</a> {e(words)}</li>'
        for file, words in texts.FILES.items()
    )
    return "".join(parts) + f'<h3>{e(texts.DOWNLOADS)}</h3><ul class="files">{links}</ul>'


def page(found: State, split: str, clinic: str, day: str) -> str:
    """The figures of all, and the charts of whom and of which day was chosen."""
    of_split = found["splits"][split]
    parts = [f"<h3>{e(texts.FIGURES_TITLE.format(split=texts.SPLITS[split]))}</h3>", _figures(of_split)]
    chosen = (of_split["pooled"] if clinic == "pooled" else of_split["clinics"].get(clinic, {})).get(day)
    whose = f"{texts.ALL_CLINICS if clinic == 'pooled' else clinic}, {day_name(day)}"
    parts.append(f"<h3>{e(whose)}</h3>")
    if not chosen or not chosen["n"]:
        parts.append(p(texts.WITHHELD if chosen and chosen["withheld"] else texts.NOTHING_OF))
        return "".join(parts)
    parts.append(_calibration(chosen))
    drawn = [c for c in (curves.roc(chosen), curves.reliability(chosen), curves.decision(chosen)) if c]
    if clinic == "pooled" and day == "all":
        drawn += curves.course(found["rounds"])
    parts += [_confusion(chosen), f'<div class="charts">{"".join(drawn)}</div>', _ranking(of_split)]
    return "".join([*parts, _grades(found["grades"][split]), p(texts.INTERVALS, "use"), p(texts.RESEARCH, "use")])


def _rows(of_split: State) -> Iterator[tuple[str, str, State]]:
    for name, by_day in [(texts.ALL_CLINICS, of_split["pooled"]), *of_split["clinics"].items()]:
        for day, found in by_day.items():
            yield name, day, found


def _figures(of_split: State) -> str:
    rows = []
    for name, day, f in _rows(of_split):
        head = [e(name), e(day_name(day)).replace(" ", "&nbsp;")]
        if f["n"]:
            at = f["confusion"]
            best = f["after"] or f["before"]
            rows.append(
                [
                    *head,
                    e(f["n"]),
                    e(f["positives"]),
                    figure(f["auroc"]),
                    figure(f["auprc"]),
                    figure(best["brier"]),
                    figure(at["sensitivity"]),
                    figure(at["specificity"]),
                ]
            )
        elif f["withheld"]:
            rows.append([*head, e(texts.TOO_FEW), *["-"] * 6])
    if not rows:
        return p(texts.NOTHING_OF)
    return p(texts.FIGURES_CAPTION, "use") + table(texts.FIGURES, rows, texts.FIGURES_CAPTION, headed=True)


def _confusion(f: State) -> str:
    at = f["confusion"]
    counts = [
        [e(texts.REALLY_GOOD), e(at["true_positives"]), e(at["false_negatives"])],
        [e(texts.REALLY_NOT), e(at["false_positives"]), e(at["true_negatives"])],
    ]
    rates = [
        (texts.SENSITIVITY, "sensitivity"),
        (texts.SPECIFICITY, "specificity"),
        (texts.PPV, "positive_predictive_value"),
        (texts.NPV, "negative_predictive_value"),
    ]
    return table(
        texts.CONFUSION, counts, texts.CONFUSION_AT.format(threshold=f"{at['threshold']:.3f}"), "narrow"
    ) + facts([(name, figure(at[key])) for name, key in rates])


def _calibration(f: State) -> str:
    rows = [
        [
            e(words),
            figure(part["slope"], 2),
            figure(part["in_the_large"], 2),
            figure(part["ece"]),
            figure(part["brier"]),
        ]
        for words, part in ((texts.BEFORE, f["before"]), (texts.AFTER, f["after"]))
        if part
    ]
    return table(texts.CALIBRATION, rows, texts.CALIBRATION_TITLE)


def _ranking(of_split: State) -> str:
    rows = []
    for name, day, f in _rows(of_split):
        r = f["ranking"]
        if day != "all":
            continue
        if r["cohorts"]:
            rows.append(
                [
                    e(name),
                    e(r["cohorts"]),
                    figure(r["top"], 2),
                    e(f"{r['chance']:.2f}"),
                    figure(r["ndcg"], 2),
                    figure(r["tau"], 2),
                    figure(r["critical"], 2),
                ]
            )
        elif r["withheld"]:
            rows.append([e(name), e(texts.TOO_FEW), *["-"] * 5])
    return table(texts.RANKING, rows, texts.RANKING_TITLE) if rows else p(texts.NO_RANKING)


def _grades(found: State) -> str:
    rows = [
        [
            e(texts.ALL_CLINICS if name == "pooled" else name),
            e(target),
            e(a["embryos"]),
            f"{a['exact']:.2f}",
            f"{a['distance']:.2f}",
        ]
        for name, targets in found.items()
        for target, a in targets.items()
    ]
    return table(texts.GRADES, rows, texts.GRADES_TITLE) if rows else ""


def card(name: str, page: str) -> str:
    """The model card as the server wrote it, in a frame in which no script runs and from which nothing is sent."""
    return f'<iframe class="card" sandbox="" title="{e(texts.CARD_OF.format(name=name))}" srcdoc="{e(page)}"></iframe>'
