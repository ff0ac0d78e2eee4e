"""The page Runs: the list of runs, what is chosen for a new one, and its estimated cost."""

from typing import Any

from embryofl.states import OVER, RUN, label
from embryofl.texts import duration, size
from embryofl_console.texts import texts
from embryofl_console.views.parts import counted, e, facts, mark, p, table, when

State = dict[str, Any]
t = texts.runs
new = texts.new_run
c = texts.cost


def names(state: State | None, *, with_results: bool = False) -> list[str]:
    """Names of runs, the newest first."""
    return [r["name"] for r in reversed((state or {"runs": []})["runs"]) if r["results"] or not with_results]


def runs(state: State | None) -> str:
    """All runs, the newest first."""
    if state is None:
        return p(texts.page.loading)
    if not state["runs"]:
        return p(t.none)
    rows = [
        [
            e(r["name"]),
            mark(RUN, r["state"]),
            e(texts.common.of.format(n=r["round"], of=r["rounds"])),
            e(r["model"]),
            e(r["strategy"]),
            when(r["since"]),
            e(r["reason"] or "-"),
        ]
        for r in reversed(state["runs"])
    ]
    return table(t.columns, rows, t.title, "tall")


def not_over(state: State | None) -> list[tuple[str, str]]:
    """The runs that can be controlled; "" is the current one."""
    open_ = [r for r in (state or {"runs": []})["runs"] if r["state"] not in OVER]
    return [(t.current, ""), *((f"{r['name']} ({label(RUN, r['state'])})", r["name"]) for r in open_)]


def about(model: State, strategy: State) -> str:
    """The chosen model and strategy."""
    pairs = []
    if model:
        pairs.append((model["name"], e(f"{model['words']} {new.size.format(size=size(model['size']))}")))
    if strategy:
        needs = new.needs.format(n=strategy["least_clinics"]) if strategy["least_clinics"] > 1 else ""
        sentences = (strategy["words"], strategy["settings_words"], needs)
        pairs.append((strategy["name"], e(" ".join(s for s in sentences if s))))
    return facts(pairs) if pairs else ""


def settings(defaults: State) -> str:
    """All settings with their defaults."""
    shown = ", ".join(f"<code>{e(k)}={e(v)}</code>" for k, v in defaults.items() if not isinstance(v, dict))
    return f"<p>{e(new.defaults)} {shown}</p>" if shown else ""


def estimate(cost: State) -> str:
    """What a run will cost, and how that is known."""
    traffic = c.traffic.format(
        one=size(cost["clinic_bytes"]),
        total=size(cost["total_bytes"]),
        model=size(cost["model_bytes"]),
        clinics=counted(c.clinics, cost["clinics"]),
        rounds=counted(c.rounds, cost["rounds"]),
    )
    source, each = c.time_unknown, duration(cost["round_s"] or 0)
    if cost["from"] == "run":
        source = c.from_run.format(run=cost["run"], rounds=cost["run_rounds"], each=each)
        source += " " + c.scaled if cost["scaled"] else ""
    elif cost["from"] == "images":
        source = c.rough.format(images=cost["images"], ms=f"{1000 * cost['image_s']:.0f}", each=each)
    total = c.unknown if cost["total_s"] is None else c.about.format(n=duration(cost["total_s"]))
    pairs = [
        (c.time, f"<strong>{e(total)}</strong> {e(source)}"),
        (c.traffic_name, e(traffic)),
        (c.updates, e(cost["updates"])),
        (c.metrics, e(cost["metrics_seen"])),
    ]
    return f"<h3>{e(c.title)}</h3>{facts(pairs)}"
