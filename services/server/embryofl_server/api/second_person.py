"""Two persons for what cannot be undone or lowers a protection, where the hub is set so (`EMBRYOFL_SECOND_PERSON`): one
coordinator asks, the request waits where all see it, and it is done once another coordinator confirms it."""

import math
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from embryofl.errors import UserError, with_code
from embryofl.settings import RunSettings
from embryofl_server.api.deps import By, Caller, CurrentCaller, CurrentHub
from embryofl_server.federation.run_settings import check_run
from embryofl_server.hub import Hub
from embryofl_server.state.requests import Asked

router = APIRouter()
LIMITS = ("norm_clip", "norm_bound", "suspend_after", "share_cap")
"""Settings of a run that protect the less the higher they are; 0 is off."""


class Waits(Exception):
    """It was not done: it waits for a second person."""


class RequestNumber(BaseModel):
    """A request that waits."""

    number: int


def require(hub: Hub, who: Caller, action: str, body: dict[str, Any]) -> None:
    """Go on only where one person is enough. Otherwise raise `Waits`, once it is noted; `UserError` for the local operator,
    who may be anybody."""
    if not hub.settings.second_person:
        return
    if not who.person:
        raise UserError(
            "H12",
            "This hub asks for two persons, and the local operator may be any. Ask as a person (embryofl-server --as NAME "
            "...); another coordinator confirms it.",
        )
    known = {asked.number for asked in hub.requests.waiting()}
    asked = hub.requests.ask(who.person, action, body)
    if asked.number not in known:
        hub.audit.write("second_person_asked", request=asked.number, what=words(asked), by=who.by)
    raise Waits(
        with_code(
            "H12",
            f"Not done yet: request {asked.number} ({words(asked)}) waits for another coordinator, who confirms it in the "
            f"console or with: embryofl-server --as NAME confirm {asked.number}",
        )
    )


def lowered(settings: RunSettings) -> list[str]:
    """The settings of a run that protect less than by default, with their values."""
    usual = RunSettings()
    weaker = [n for n in LIMITS if (getattr(settings, n) or math.inf) > (getattr(usual, n) or math.inf)]
    if settings.secure_aggregation == "off":
        weaker.append("secure_aggregation")
    return [f"{name}={getattr(settings, name)}" for name in weaker]


def require_for_run(hub: Hub, who: Caller, settings: dict[str, Any], initial: str) -> None:
    """`require` for a run that lowers a protection."""
    if hub.settings.second_person and lowered(check_run(settings, hub.store, any_model=bool(initial))):
        require(hub, who, "run", {"settings": settings, "initial": initial})


def words(asked: Asked) -> str:
    """What was asked for."""
    body = asked.body
    if asked.action == "revoke":
        return f"revoke {body['name']}"
    if asked.action == "run":
        return "start a run with " + ", ".join(f"{name}={value}" for name, value in body["settings"].items())
    if not body["finish"]:
        return "begin to replace the certificate authority"
    return "finish replacing the certificate authority" + "".join(f", without {name}" for name in body["without"])


def waiting(hub: Hub) -> list[dict[str, Any]]:
    """The requests that wait, for status and console."""
    return [
        {"number": asked.number, "person": asked.person, "asked": asked.asked, "what": words(asked)}
        for asked in hub.requests.waiting()
    ]


@router.post("/requests/confirm")
def confirm(request: RequestNumber, hub: CurrentHub, by: By, who: CurrentCaller) -> dict[str, str]:
    """Do what another coordinator has asked for."""
    asked = hub.requests.find(request.number)
    if who.person in ("", asked.person):
        raise UserError(
            "H12",
            f"{asked.person} has asked for {words(asked)}, and another coordinator has to confirm it: in the console or "
            f"with embryofl-server --as NAME confirm {asked.number}",
        )
    hub.requests.take(asked.number)
    hub.audit.write("second_person_confirmed", request=asked.number, what=words(asked), by=by)
    body, by = asked.body, f"{asked.person}, confirmed by {by}"
    if asked.action == "revoke":
        hub.membership.revoke(body["name"], body["reason"], by)
    elif asked.action == "run":
        hub.conductor.queue(body["settings"], body["initial"], by)
    elif body["finish"]:
        hub.authority.finish(by, body["without"])
    else:
        hub.authority.begin(by)
    return {"what": words(asked)}


@router.post("/requests/withdraw")
def withdraw(request: RequestNumber, hub: CurrentHub, by: By) -> dict[str, str]:
    """Let a request wait no more: whoever asked for it, or another coordinator who does not confirm it."""
    asked = hub.requests.find(request.number)
    hub.requests.take(asked.number)
    hub.audit.write("second_person_withdrawn", request=asked.number, what=words(asked), by=by)
    return {"what": words(asked)}
