"""The page Clinics and the page of one clinic: what can be done with clinics, invites, local test clinics."""

from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import RedirectResponse

from embryofl.errors import UserError
from embryofl.states import CLINIC, MEMBER, label
from embryofl_console.context import Fields, PageContext, State
from embryofl_console.pages.hub import shortened
from embryofl_console.texts import texts

MOST_FIND, MOST_READ, MOST_HISTORY = 60, 200, 20
t = texts.clinics
ACTIONS: dict[str, tuple[str, ...]] = {"approve": (), "refuse": ("reason",), "suspend": ("reason",), "resume": ()}
ACTIONS |= {"rename": ("to",), "revoke": ("reason",)}
"""What can be done with a clinic, and the fields that say how."""


def routes(context: PageContext) -> APIRouter:
    """The pages and what they post."""
    router = APIRouter()

    def page(request: Request, status: int = 200, sort: str = "", find: str = "", **values: Any) -> Response:
        given = {"made": None, "error": "", "typed": {"name": "", "days": "7"}, **values}
        state = context.follower.now()[1]
        shown: State = {"local": local_states(context), "mode": context.settings.mode, "invites": open_invites(state)}
        live = f"/clinics?{urlencode({'sort': sort, 'find': find})}"
        shown |= arranged(state, sort, find)
        return context.show(request, "clinics", status=status, live=live, **shown, **given)

    @router.get("/clinics")
    def clinics(request: Request, sort: str = "", find: Annotated[str, Query(max_length=MOST_FIND)] = "") -> Response:
        return page(request, sort=sort, find=find.strip())

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
        if not name:
            return RedirectResponse("/clinics", 303)
        try:
            record = context.get("clinics", name)
            query = urlencode({"clinic": name, "last": MOST_READ})
            audits = context.person(request).audits
            entries = context.client.call("GET", f"/control/audit?{query}")["entries"] if audits else []
        except UserError as exc:
            return context.done(request, "/clinics", str(exc), "bad")
        history = [e for e in reversed(entries) if e["event"] != "round"][:MOST_HISTORY]
        shown = {"clinic": record, "day_name": day_name, "history": history, "shortened": shortened}
        return context.show(request, "clinic", record["name"], here="clinics", **shown)

    @router.post("/clinic/{action}")
    def act(action: str, request: Request, fields: Fields) -> Response:
        if action not in ACTIONS:
            raise HTTPException(404)
        name = fields.get("name", "")
        own = f"/clinic?name={quote(name, safe='')}"
        if action == "revoke" and fields.get("again") != name:
            return context.done(request, own, t.not_the_same, "bad")
        body = {key: fields.get(key, "") for key in ("name", *ACTIONS[action])}
        return context.act(request, own if action in ("suspend", "resume", "revoke") else "/clinics", action, body)

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


def arranged(state: State | None, sort: str, find: str) -> dict[str, Any]:
    """The clinics with `find` in their row, sorted by a column ("-" before its name: from high to low; "": by name)."""
    key, down = sort.removeprefix("-"), sort.startswith("-")
    column = list(t.columns).index(key) if key in t.columns else 0
    key = list(t.columns)[column]

    def value(clinic: State) -> Any:
        if key == "last_seen" and clinic["online"]:
            return float("inf")
        return clinic["does"] or clinic["state"] if key == "state" else clinic[key]

    def matches(clinic: State) -> bool:
        state = label(CLINIC, clinic["does"]) if clinic["does"] else label(MEMBER, clinic["state"])
        words = (clinic["name"], state, clinic["reason"], clinic["version"], texts.meaning.get(clinic["meaning"], ""))
        return find.lower() in " ".join(words).lower()

    found = list(filter(matches, state["roster"] if state else ()))
    known = sorted((c for c in found if value(c) not in (None, "")), key=value, reverse=down)
    order = {"sort": sort, "find": find, "sorted": (column, "descending" if down else "ascending")}
    return {"roster": known + [c for c in found if c not in known], "order": order}


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
