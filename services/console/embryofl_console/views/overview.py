"""The page Now: what runs, who is in, late, refused or missing and why, and the one thing to do next."""

from typing import Any

from embryofl_console import texts
from embryofl_console.views.parts import counted, e, facts, mark, p, seconds, table, trouble, until, when
from embryofl_console.views.plots import Series, chart, fitted, rounds_axis

State = dict[str, Any]
UNDER_WAY = ("running", "waiting")


def next_step(state: State) -> tuple[str, bool]:
    """The one thing to do next, and whether there is one."""
    run, waiting = state["run"], state["progress"]["waiting"]
    if state["to_approve"]:
        return texts.APPROVE_NEXT.format(names=", ".join(state["to_approve"])), True
    if not state["clinics"]:
        return texts.INVITE_NEXT, True
    if run and run["state"] == "failed":
        return texts.FAILED_NEXT, True
    if run and run["state"] in UNDER_WAY and waiting:
        away = [n for n in waiting["for_"] if state["clinics"].get(n, {}).get("state") == "offline"]
        if away:
            return texts.SWITCH_ON_NEXT.format(names=", ".join(away)), True
        out = [n for n, c in state["clinics"].items() if c["state"] == "suspended"]
        if out and state["progress"]["phase"] == "waiting":
            return texts.SUSPENDED_NEXT.format(names=", ".join(out)), True
    paused = [*state["paused"], *([run["name"]] if run and run["state"] == "paused" else [])]
    if paused:
        return texts.RESUME_NEXT.format(names=", ".join(paused)), True
    if run is None:
        return texts.START_NEXT, True
    if run["state"] == "finished":
        return texts.RESULTS_NEXT.format(name=run["name"]), False
    return texts.ALL_WELL, False


def now(state: State | None, problem: str) -> str:
    """The whole page."""
    parts = [trouble(problem)] if problem else []
    if state is None:
        return "".join([*parts, p(texts.LOADING)])
    words, act = next_step(state)
    parts.append(f'<p class="next{" act" if act else ""}"><strong>{e(texts.NEXT)}</strong> {e(words)}</p>')
    parts.append(p(texts.NO_RUN) if state["run"] is None else _run(state))
    if state["clinics"]:
        rows = [_clinic(n, c, state) for n, c in state["clinics"].items()]
        parts.append(table(texts.COLUMNS, rows, texts.WHO_IS_IN))
    return "".join([*parts, curve(state["curve"])])


def _run(state: State) -> str:
    run, at = state["run"], state["progress"]
    round_ = at["round"] or run["round"]
    title = texts.RUN_AT.format(
        name=run["name"],
        state=texts.STATES.get(run["state"], run["state"]),
        round=round_,
        rounds=run["settings"]["rounds"],
    )
    parts = [f"<h2>{e(title)}</h2>"]
    if run["reason"]:
        parts.append(p(run["reason"]))
    settings = run["settings"]
    told = [(texts.MODEL, e(settings["model"])), (texts.STRATEGY, e(settings["strategy"]))]
    if run["state"] in UNDER_WAY:
        told.insert(0, (texts.PHASE, e(texts.PHASES.get(at["phase"], at["phase"]))))
        if at["deadline"]:
            told.append((texts.DEADLINE, until(at["deadline"])))
        told.append((texts.ENDS, _end(state)))
        share = max(0.0, min(1.0, run["round"] / max(1, settings["rounds"])))
        parts.append(f'<progress max="100" value="{100 * share:.0f}" aria-label="{e(texts.PROGRESS)}"></progress>')
    parts += [facts(told), _waiting(at["waiting"]) if run["state"] in UNDER_WAY else ""]
    if state["queued"]:
        parts.append(p(texts.QUEUED.format(names=", ".join(state["queued"]))))
    return "".join(parts)


def _end(state: State) -> str:
    """When the run is likely to end: by the rounds it has had."""
    run, pace = state["run"], state["pace"]
    left = run["settings"]["rounds"] - run["round"]
    if not pace["round_s"] or state["progress"]["phase"] == "waiting":
        return e(texts.END_UNKNOWN)
    return f"{when(pace['last'] + left * pace['round_s'])} " + e(
        texts.END_FROM.format(each=seconds(pace["round_s"]), count=counted(texts.LAST_ROUNDS, pace["rounds"]))
    )


def _waiting(waiting: State | None) -> str:
    if not waiting:
        return ""
    text = e(texts.WAITING.format(names=", ".join(waiting["for_"]) or texts.ITSELF))
    text += f" ({e(waiting['why'])})" if waiting["why"] else ""
    if waiting["until"]:
        text += f"; {until(waiting['until'])}: {e(waiting['then'])}"
    return f'<p class="waiting">{text}</p>'


def _clinic(name: str, clinic: State, state: State) -> list[str]:
    lines = state["run"]["metrics"] if state["run"] else []
    newest = [x for x in lines if x["clinic"] == name and x["split"] == "validation" and x["day"] is None]
    auroc = newest[-1]["auroc"] if newest else None
    figure = "-" if auroc is None else f"{auroc:.3f}"
    labelled = "-" if clinic["labelled"] is None else e(clinic["labelled"])
    return [e(name), mark(clinic["state"]), labelled, figure, e(clinic["detail"] or "-")]


def curve(points: list[list[Any]]) -> str:
    """The pooled AUROC by round, with the newest figures as text for who cannot see it."""
    found = [(float(r), float(a)) for r, a, _ in points if a is not None]
    if len(found) < 2:
        return p(texts.NO_CURVE)
    said = ", ".join(texts.ROUND_IS.format(round=int(r), value=f"{v:.3f}") for r, v in found[-5:])
    up = fitted(texts.AUROC, [], low=min(0.5, *(v for _, v in found)), high=1.0)
    line = Series(texts.ALL_CLINICS, found, dots=len(found) <= 30)
    return chart(texts.CURVE, said, rounds_axis(texts.ROUND, found[-1][0]), up, [line])
