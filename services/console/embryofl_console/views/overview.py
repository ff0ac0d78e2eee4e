"""The page Overview: the run, each clinic's state and why, and the one thing to do next."""

from typing import Any

from embryofl.result_charts import by_round
from embryofl.states import CLINIC, PHASE, RUN, UNDER_WAY, label
from embryofl.texts import duration
from embryofl_console.texts import texts
from embryofl_console.views.parts import counted, dash, e, facts, mark, p, table, trouble, until, when

State = dict[str, Any]
t = texts.overview


def next_step(state: State) -> tuple[str, bool]:
    """The one thing to do next, and whether there is one."""
    run, waiting, clinics = state["run"], state["progress"]["waiting"], state["clinics"]
    if state["to_approve"]:
        return t.approve_next.format(names=", ".join(state["to_approve"])), True
    if not clinics:
        return t.invite_next, True
    if run and run["state"] == "failed":
        return t.failed_next, True
    if run and run["state"] in UNDER_WAY and waiting:
        offline = [n for n in waiting["for_"] if clinics.get(n, {}).get("state") == "offline"]
        if offline:
            return t.switch_on_next.format(names=", ".join(offline)), True
        suspended = [n for n, c in clinics.items() if c["state"] == "suspended"]
        if suspended and state["progress"]["phase"] == "waiting":
            return t.suspended_next.format(names=", ".join(suspended)), True
    paused = [*state["paused"], *([run["name"]] if run and run["state"] == "paused" else [])]
    if paused:
        return t.resume_next.format(names=", ".join(paused)), True
    if run is None:
        return t.start_next, True
    return t.results_next.format(name=run["name"]) if run["state"] == "finished" else t.all_well, False


def page(state: State | None, problem: str) -> str:
    """The whole page."""
    parts = [trouble(problem)] if problem else []
    if state is None:
        return "".join([*parts, p(texts.page.loading)])
    text, act = next_step(state)
    parts.append(f'<p class="next{" act" if act else ""}"><strong>{e(t.next)}</strong> {e(text)}</p>')
    parts.append(p(t.no_run) if state["run"] is None else _run(state))
    if state["clinics"]:
        parts.append(table(t.columns, [_clinic(n, c, state) for n, c in state["clinics"].items()], t.clinics))
    points = [(round_, auroc, blur) for round_, auroc, _, blur in state["curve"] if auroc is not None]
    return "".join([*parts, by_round("auroc", {texts.common.all_clinics: points}) or p(t.no_curve)])


def _run(state: State) -> str:
    run, progress, settings = state["run"], state["progress"], state["run"]["settings"]
    title = t.run_at.format(
        name=run["name"],
        state=label(RUN, run["state"]).lower(),
        round=progress["round"] or run["round"],
        rounds=settings["rounds"],
    )
    parts = [f"<h2>{e(title)}</h2>", p(run["reason"]) if run["reason"] else ""]
    pairs = [(texts.common.model, e(settings["model"])), (texts.common.strategy, e(settings["strategy"]))]
    pairs += [(t.updates, e(run["updates"])), (t.metrics, e(state["metrics_seen"]))]
    if run["state"] in UNDER_WAY:
        pairs.insert(0, (t.phase, e(label(PHASE, progress["phase"]))))
        if progress["deadline"]:
            pairs.append((t.deadline, until(progress["deadline"])))
        pairs.append((t.end, _end(state)))
        share = max(0.0, min(1.0, run["round"] / max(1, settings["rounds"])))
        parts.append(f'<progress max="100" value="{100 * share:.0f}" aria-label="{e(t.progress)}"></progress>')
    parts += [facts(pairs), _waiting(progress["waiting"]) if run["state"] in UNDER_WAY else ""]
    if state["queued"]:
        parts.append(p(t.queued.format(names=", ".join(state["queued"]))))
    return "".join(parts)


def _end(state: State) -> str:
    """When the run is likely to end, by the rounds it has had."""
    run, pace = state["run"], state["pace"]
    left = run["settings"]["rounds"] - run["round"]
    if not pace["round_s"] or state["progress"]["phase"] == "waiting":
        return e(t.end_unknown)
    source = t.end_from.format(each=duration(pace["round_s"]), count=counted(t.last_rounds, pace["rounds"]))
    return f"{when(pace['last'] + left * pace['round_s'])} {e(source)}"


def _waiting(waiting: State | None) -> str:
    if not waiting:
        return ""
    text = e(t.waiting.format(names=", ".join(waiting["for_"]) or t.the_hub))
    text += f" ({e(waiting['why'])})" if waiting["why"] else ""
    if waiting["until"]:
        text += f"; {until(waiting['until'])}: {e(waiting['then'])}"
    return f'<p class="waiting">{text}</p>'


def _clinic(name: str, clinic: State, state: State) -> list[str]:
    lines = state["run"]["metrics"] if state["run"] else []
    aurocs = [x["auroc"] for x in lines if x["clinic"] == name and x["split"] == "validation" and x["day"] is None]
    none = "-" if clinic["metrics"] == "own" else t.not_released
    auroc = f"{aurocs[-1]:.3f}" if aurocs and aurocs[-1] is not None else none
    return [e(name), mark(CLINIC, clinic["state"]), dash(clinic["labelled"]), auroc, e(clinic["detail"] or "-")]
