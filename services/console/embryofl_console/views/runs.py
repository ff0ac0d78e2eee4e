"""The page Training: the list of runs, what is chosen, and what a run will cost."""

from typing import Any

from embryofl_console import texts
from embryofl_console.views.parts import counted, e, facts, mark, p, seconds, size, table, when

State = dict[str, Any]
OVER = ("finished", "stopped", "failed")


def runs(state: State | None) -> str:
    """All runs, the newest first."""
    if state is None:
        return p(texts.LOADING)
    if not state["runs"]:
        return p(texts.NO_RUN_HERE)
    rows = [
        [
            e(r["name"]),
            mark(r["state"]),
            e(texts.OF.format(n=r["round"], of=r["rounds"])),
            e(r["model"]),
            e(r["strategy"]),
            when(r["since"]),
            e(r["reason"] or "-"),
        ]
        for r in reversed(state["runs"])
    ]
    return table(texts.RUNS, rows, texts.RUNS_TITLE, "tall")


def not_over(state: State | None) -> list[tuple[str, str]]:
    """The runs that can be steered; "" is the one under way."""
    open_ = [r for r in (state or {"runs": []})["runs"] if r["state"] not in OVER]
    return [
        (texts.UNDER_WAY, ""),
        *((f"{r['name']} ({texts.STATES.get(r['state'], r['state'])})", r["name"]) for r in open_),
    ]


def about(model: State, strategy: State) -> str:
    """What is chosen, in words."""
    told = []
    if model:
        told.append((model["name"], e(f"{model['words']} {texts.SIZE_IS.format(size=size(model['size']))}")))
    if strategy:
        needs = texts.NEEDS.format(n=strategy["least_clinics"]) if strategy["least_clinics"] > 1 else ""
        told.append(
            (strategy["name"], e(" ".join(w for w in (strategy["words"], strategy["settings_words"], needs) if w)))
        )
    return facts(told) if told else ""


def settings(defaults: State) -> str:
    """All settings with their defaults."""
    if not defaults:
        return ""
    words = ", ".join(f"<code>{e(k)}={e(v)}</code>" for k, v in defaults.items() if not isinstance(v, dict))
    return f"<p>{e(texts.DEFAULTS)} {words}</p>"


def estimate(found: State) -> str:
    """What a run will cost, and where the figures come from."""
    traffic = texts.TRAFFIC.format(
        one=size(found["clinic_bytes"]),
        total=size(found["total_bytes"]),
        model=size(found["model_bytes"]),
        clinics=counted(texts.EACH_CLINIC, found["clinics"]),
        rounds=counted(texts.ROUNDS_OF_RUN, found["rounds"]),
    )
    if found["from"] == "run":
        source = texts.TIME_FROM_RUN.format(
            run=found["run"], rounds=found["run_rounds"], each=seconds(found["round_s"])
        )
        source += " " + texts.TIME_SCALED if found["scaled"] else ""
    elif found["from"] == "images":
        source = texts.TIME_ROUGH.format(
            images=found["images"], ms=f"{1000 * found['image_s']:.0f}", each=seconds(found["round_s"])
        )
    else:
        source = texts.TIME_UNKNOWN
    total = texts.ABOUT.format(n=seconds(found["total_s"])) if found["total_s"] is not None else texts.NOT_KNOWN
    told = [(texts.TIME, f"<strong>{e(total)}</strong> {e(source)}"), (texts.TRAFFIC_NAME, e(traffic))]
    return f"<h3>{e(texts.ESTIMATE_TITLE)}</h3>" + facts(told)
