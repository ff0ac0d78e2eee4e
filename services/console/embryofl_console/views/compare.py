"""Runs side by side: the settings that differ, final figures, curves in one chart."""

from typing import Any

from embryofl_console import texts
from embryofl_console.views.parts import e, mark, p, table
from embryofl_console.views.plots import Series, chart, fitted, rounds_axis
from embryofl_console.views.results import figure

State = dict[str, Any]


def compared(runs: list[State]) -> str:
    """Two runs and more (see the server's `run_outline`)."""
    heads = [r["name"] for r in runs]
    parts = [_settings(runs, heads), _figures(runs, heads)]
    for place, name in ((1, texts.AUROC), (2, texts.LOSS)):
        lines = [Series(r["name"], [(p[0], p[place]) for p in r["curve"] if p[place] is not None]) for r in runs]
        found = [line for line in lines if len(line.points) > 1]
        if not found:
            continue
        last = max(x for line in found for x, _ in line.points)
        said = "; ".join(f"{line.name}: {line.points[-1][1]:.3f}" for line in found)
        across = rounds_axis(texts.ROUND, last)
        high = 1.0 if place == 1 else None
        up = fitted(name, [y for line in found for _, y in line.points], high=high)
        parts.append(chart(f"{name}, {texts.ON_VALIDATION}", said, across, up, found))
    return f'<div class="charts">{"".join(parts[2:])}</div>'.join(("".join(parts[:2]), p(texts.RESEARCH, "use")))


def _settings(runs: list[State], heads: list[str]) -> str:
    keys = [k for k in runs[0]["settings"] if len({repr(r["settings"].get(k)) for r in runs}) > 1]
    rows = [
        [e(texts.STATE), *(mark(r["state"]) for r in runs)],
        [e(texts.ROUNDS_DONE), *(e(texts.OF.format(n=r["round"], of=r["settings"]["rounds"])) for r in runs)],
        *([e(k), *(e(_words(r["settings"].get(k))) for r in runs)] for k in keys),
    ]
    words = "" if keys else p(texts.SAME_SETTINGS)
    return table([texts.SETTING, *heads], rows, texts.DIFFERENT) + words


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}={v}" for k, v in value.items()) or "-"
    return "-" if value == "" else str(value)


def _figures(runs: list[State], heads: list[str]) -> str:
    if not any(r["final"] for r in runs):
        return p(texts.NO_FINALS)
    rows = []
    for key, name in (("auroc", texts.AUROC), ("auprc", texts.AUPRC), ("brier", texts.BRIER), ("ece", texts.ECE)):
        for clinic in ["pooled", *sorted({n for r in runs if r["final"] for n in r["final"]["test"]} - {"pooled"})]:
            found = [((r["final"] or {"test": {}})["test"].get(clinic) or {}).get(key) for r in runs]
            if any(found) and (clinic == "pooled" or key == "auroc"):
                whose = texts.ALL_CLINICS if clinic == "pooled" else clinic
                rows.append([e(f"{name}, {whose}"), *(figure(f) for f in found)])
    return table([texts.FIGURE, *heads], rows, texts.FINALS) if rows else p(texts.NO_FINALS)
