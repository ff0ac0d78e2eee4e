"""The page Clinics and the page of one clinic: what can be done with clinics, invites, local test clinics."""

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request, Response

from embryofl.errors import UserError
from embryofl_console.context import Fields, PageContext, State
from embryofl_console.texts import texts

t = texts.clinics
ACTIONS = ("approve", "refuse", "suspend", "resume", "rename", "revoke")


def routes(context: PageContext) -> APIRouter:
    """The pages and what they post."""
    router = APIRouter()

    def page(request: Request, status: int = 200, **values: Any) -> Response:
        given = {"made": None, "error": "", "typed": {"name": "", "days": "7"}, **values}
        state = context.follower.now()[1]
        shown = {"local": local_states(context), "mode": context.settings.mode, "invites": open_invites(state)}
        return context.show(request, "clinics", texts.page.tabs[1], status, live="/clinics", **shown, **given)

    @router.get("/clinics")
    def clinics(request: Request) -> Response:
        return page(request)

    @router.post("/invite")
    def invite(request: Request, fields: Fields) -> Response:
        """Not followed by a redirect: the invite is shown only now."""
        name, days = fields.get("name", ""), fields.get("days", "")
        try:
            body = {"name": name, "days": float(days) if days.replace(".", "", 1).isdecimal() else days}
            made = context.client.call("POST", "/control/invites", body)
        except UserError as exc:
            return page(request, 400, error=str(exc), typed={"name": name, "days": days})
        context.follower.poll()
        return page(request, made=(name, made))

    @router.post("/withdraw")
    def withdraw(request: Request, fields: Fields) -> Response:
        return context.act(request, "/clinics", "invites/withdraw", {"name": fields.get("name", "")})

    @router.get("/clinic")
    def clinic(request: Request, name: str = "") -> Response:
        try:
            record = context.get("clinics", name)
        except UserError as exc:
            return context.done(request, "/clinics", str(exc), "bad")
        return context.show(request, "clinic", record["name"], here="clinics", clinic=record, day_name=day_name)

    @router.post("/clinic/{action}")
    def act(action: str, request: Request, fields: Fields) -> Response:
        if action not in ACTIONS:
            raise HTTPException(404)
        name, to = fields.get("name", ""), fields.get("to", "")
        body = {
            "name": name,
            **({"reason": fields.get("reason", "")} if action not in ("approve", "resume", "rename") else {}),
        }
        own = f"/clinic?name={quote(name, safe='')}"
        if action == "revoke" and fields.get("again") != name:
            return context.done(request, own, t.not_the_same, "bad")
        if action == "rename":
            body["to"], own = to, "/clinics"
        return context.act(request, "/clinics" if action in ("approve", "refuse") else own, action, body)

    @router.post("/local/{action}")
    def steer(action: str, request: Request, fields: Fields) -> Response:
        outcomes = {"start": texts.local.started, "stop": texts.local.stopped}
        if action not in outcomes:
            raise HTTPException(404)
        try:
            context.local.act(action, fields.get("name", ""))
        except UserError as exc:
            return context.done(request, "/clinics", str(exc), "bad")
        return context.done(request, "/clinics", outcomes[action])

    return router


def local_states(context: PageContext) -> dict[str, str] | None:
    """The demo's clinics; None where they cannot be started here."""
    if not context.local.available:
        return None
    try:
        return context.local.states()
    except UserError:  # shown when a clinic is started or stopped
        return {}


def open_invites(state: State | None) -> list[State]:
    """The unused invites."""
    return [i for i in (state or {"invites": []})["invites"] if i["state"] == "open"]


def day_name(day: str) -> str:
    """The name of a day."""
    names = {"all": texts.common.all_days, "0": texts.common.day_unknown, "unknown": texts.common.day_unknown}
    return str(names.get(day) or texts.common.day.format(day=day))
