"""The page Overview: the run, each clinic's state and why, and the one thing to do next."""

from typing import Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from markupsafe import Markup

from embryofl.result_charts import margin
from embryofl.states import RUN, UNDER_WAY, label
from embryofl_console.context import Fields, PageContext, State, curves
from embryofl_console.texts import texts

MOST_NAMED, MOST_REASON = 4, 120
t = texts.overview


def routes(context: PageContext) -> APIRouter:
    """The page."""
    router, drawing = APIRouter(), Drawing()

    @router.get("/")
    def overview(request: Request) -> Response:
        state = context.follower.now()[1]
        curves = drawing(state["courses"] if state else {})
        return context.show(request, "overview", live="/", curves=curves, **seen(state))

    @router.post("/request/{action}")
    def decide(action: Literal["confirm", "withdraw"], request: Request, fields: Fields) -> Response:
        """On what another person has asked for."""
        return context.act(request, "/", f"requests/{action}", {"number": fields.get("number", "")})

    return router


def seen(state: State | None) -> dict[str, Any]:
    """What the template shows besides the state itself."""
    if state is None:
        return {}
    lines = state["run"]["metrics"] if state["run"] else []
    return {
        "next": next_step(state),
        "aurocs": {
            x["clinic"]: _auroc(x) for x in lines if (x["split"], x["day"]) == ("validation", None) and x["auroc"]
        },
        "lanes": lanes(state),
        "held": held(state),
        "end": end_of(state),
        "alerts": [(t.alert[a["alert"]].format(**a), *_look_at(a)) for a in state["alerts"]],
        "events": [(e["time"], in_words(e)) for e in state["events"]],
    }


def _auroc(line: State) -> State:
    """The AUROC of a metric line, with its interval."""
    by = margin(line)
    return {
        "value": line["auroc"],
        "interval": (max(0.0, line["auroc"] - by), min(1.0, line["auroc"] + by)) if by else (),
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


def held(state: State) -> str:
    """Who holds the round, and since when the round has been under way; "" while nobody does."""
    waiting, progress = state["progress"]["waiting"], state["progress"]
    if not waiting or not waiting["for_"] or not progress["deadline"]:
        return ""
    names, count = waiting["for_"], len(waiting["for_"])
    first = (
        t.both.join(filter(None, (", ".join(names[:-1]), names[-1]))) if count <= MOST_NAMED else t.many.format(n=count)
    )
    return str(t.held[count != 1].format(names=first, round=progress["round"]))


def _look_at(alert: State) -> tuple[str, str]:
    """The page about an alert, and its title."""
    name = alert["clinic"]
    return (f"/clinic?name={quote(name, safe='')}", name) if name else ("/hub", texts.page.tabs.hub)


def in_words(event: State) -> str:
    """An entry of the audit log as a line: what happened, to whom, and why."""
    what = str(texts.event.get(event["event"], event["event"]))
    state = label(RUN, event["state"]).lower() if event["state"] else ""
    number = texts.overview.round.format(n=event["round"]) if event["round"] != "" else ""
    about = ", ".join(str(part) for part in (event["person"], event["clinic"], event["run"], number, state) if part)
    why = f" ({event['reason'][:MOST_REASON]})" if event["reason"] else ""
    return f"{what[:1].upper()}{what[1:]}" + (f": {about}" if about else "") + why


class Drawing:
    """The charts of validation AUROC and loss, which are drawn again when there are other courses."""

    def __init__(self) -> None:
        self._drawn: tuple[State | None, Markup] = (None, Markup())

    def __call__(self, courses: State) -> Markup:
        """As HTML; "" before there are two rounds."""
        if courses is not self._drawn[0]:
            named = {texts.common.all_clinics if name == "pooled" else name: its for name, its in courses.items()}
            self._drawn = courses, curves(named, named.keys() - {texts.common.all_clinics})
        return self._drawn[1]
