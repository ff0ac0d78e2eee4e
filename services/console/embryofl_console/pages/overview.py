"""The page Overview: the run, each clinic's state and why, and the one thing to do next."""

from typing import Any

from fastapi import APIRouter, Request, Response
from markupsafe import Markup

from embryofl.result_charts import by_round
from embryofl.states import UNDER_WAY
from embryofl_console.context import PageContext, State
from embryofl_console.texts import texts

t = texts.overview


def routes(context: PageContext) -> APIRouter:
    """The page."""
    router = APIRouter()

    @router.get("/")
    def overview(request: Request) -> Response:
        return context.show(request, "overview", texts.page.tabs[0], live="/", **seen(context.follower.now()[1]))

    return router


def seen(state: State | None) -> dict[str, Any]:
    """What the template shows besides the state itself."""
    if state is None:
        return {}
    lines = state["run"]["metrics"] if state["run"] else []
    return {
        "next": next_step(state),
        "aurocs": {x["clinic"]: x["auroc"] for x in lines if x["split"] == "validation" and x["day"] is None},
        "lanes": lanes(state),
        "curves": Markup(curves(state)),  # noqa: S704 - its texts are escaped
        "end": end_of(state),
    }


def next_step(state: State) -> tuple[str, str]:
    """The one thing to do next, and the page to do it on ("": nothing to do)."""
    run, waiting, clinics = state["run"], state["progress"]["waiting"], state["clinics"]
    if state["to_approve"]:
        return t.approve_next.format(names=", ".join(state["to_approve"])), "clinics"
    if not clinics:
        return t.invite_next, "clinics"
    if run and run["state"] == "failed":
        return t.failed_next, "runs"
    if run and run["state"] in UNDER_WAY and waiting:
        offline = [n for n in waiting["for_"] if clinics.get(n, {}).get("state") == "offline"]
        if offline:
            return t.switch_on_next.format(names=", ".join(offline)), "clinics"
        suspended = [n for n, c in clinics.items() if c["state"] == "suspended"]
        if suspended and state["progress"]["phase"] == "waiting":
            return t.suspended_next.format(names=", ".join(suspended)), "clinics"
    paused = [*state["paused"], *([run["name"]] if run and run["state"] == "paused" else [])]
    if paused:
        return t.resume_next.format(names=", ".join(paused)), "runs"
    if run is None:
        return t.start_next, "runs"
    return (t.results_next.format(name=run["name"]), "results") if run["state"] == "finished" else (t.all_well, "")


def end_of(state: State) -> tuple[float, float, int] | None:
    """When the run is likely to end, seconds a round, and how many rounds that is based on; None: not known."""
    run, pace = state["run"], state["pace"]
    if run is None or not pace["round_s"] or state["progress"]["phase"] == "waiting":
        return None
    return pace["last"] + (run["settings"]["rounds"] - run["round"]) * pace["round_s"], pace["round_s"], pace["rounds"]


def lanes(state: State) -> tuple[float, float, bool] | None:
    """From when to when the round's timeline goes, and whether it reaches the deadline; None without a round that has one.

    Where a deadline is far, the timeline ends at twice the time that rounds have taken, so that what happens can be seen.
    """
    began, deadline = state["progress"]["round_began"], state["progress"]["deadline"]
    if not deadline > began > 0:
        return None
    end = min(deadline, began + max(30.0, 2 * state["pace"]["round_s"]))
    return began, end, end == deadline


def curves(state: State) -> str:
    """Validation AUROC and loss of the run's rounds, as HTML; "" before there are two."""
    aurocs = [(r, auroc, blur) for r, auroc, _, blur in state["curve"] if auroc is not None]
    losses = [(r, loss) for r, _, loss, _ in state["curve"] if loss is not None]
    every = texts.common.all_clinics
    return by_round("auroc", {every: aurocs}) + by_round("loss", {every: losses})
