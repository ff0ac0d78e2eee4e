"""Runs side by side: the settings that differ, final results, curves in one chart."""

from typing import Any

from embryofl.result_charts import by_round
from embryofl.states import RUN
from embryofl_console.texts import texts
from embryofl_console.views.parts import e, mark, p, table, whose
from embryofl_console.views.results import metric

State = dict[str, Any]
t = texts.compare


def compared(runs: list[State]) -> str:
    """Two or more runs (outlines, as the control API gives them)."""
    heads = [r["name"] for r in runs]
    charts = "".join(_course(runs, place, name) for place, name in ((1, "auroc"), (2, "loss")))
    use = p(texts.page.research, "use")
    return f'{_settings(runs, heads)}{_metrics(runs, heads)}<div class="charts">{charts}</div>{use}'


def _course(runs: list[State], place: int, name: str) -> str:
    def course(run: State) -> list[tuple[float, ...]]:
        blurred = name == "auroc"
        return [(at[0], at[place], *([at[3]] if blurred else [])) for at in run["curve"] if at[place] is not None]

    return by_round(name, {r["name"]: course(r) for r in runs})


def _settings(runs: list[State], heads: list[str]) -> str:
    keys = [k for k in runs[0]["settings"] if len({repr(r["settings"].get(k)) for r in runs}) > 1]
    rows = [
        [e(texts.common.state), *(mark(RUN, r["state"]) for r in runs)],
        [e(t.rounds_done), *(e(texts.common.of.format(n=r["round"], of=r["settings"]["rounds"])) for r in runs)],
        *([e(k), *(e(_value(r["settings"].get(k))) for r in runs)] for k in keys),
    ]
    return table([t.setting, *heads], rows, t.different) + ("" if keys else p(t.same))


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}={v}" for k, v in value.items()) or "-"
    return "-" if value == "" else str(value)


def _metrics(runs: list[State], heads: list[str]) -> str:
    finals = [r["final"]["test"] if r["final"] else {} for r in runs]
    clinics = ["pooled", *sorted({name for final in finals for name in final} - {"pooled"})]
    rows = []
    for key in ("auroc", "auprc", "brier", "ece"):
        for clinic in clinics if key == "auroc" else ["pooled"]:
            values = [(final.get(clinic) or {}).get(key) for final in finals]
            if any(values):
                rows.append([e(f"{texts.metric[key]}, {whose(clinic)}"), *map(metric, values)])
    return table([t.metric, *heads], rows, t.finals) if rows else p(t.no_finals)
