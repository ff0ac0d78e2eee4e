"""The control API's part about people: login, who there is, who is let in. Each route says for whom."""

import logging
import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from embryofl.errors import UserError, with_code
from embryofl_server.api.deps import CurrentCaller, CurrentHub, auditing, operating
from embryofl_server.state.people import LONGEST, Role
from embryofl_server.state.provider import Provider

log = logging.getLogger("embryofl.people")

router = APIRouter()
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+")
MANAGES = Depends(operating)


class Login(BaseModel):
    """A person, "" for the only one there is, and a one-time code where the person has them."""

    name: str = Field(default="", max_length=100)
    password: str = Field(max_length=LONGEST)
    code: str = Field(default="", max_length=20)


class Finished(BaseModel):
    """What the institution's provider has sent the browser back with."""

    state: str = Field(max_length=200)
    code: str = Field(max_length=4000)


class PersonName(BaseModel):
    """A person."""

    name: str


class Binding(PersonName):
    """A person, and an account at the institution's login: its `sub`, or a verified e-mail address; neither ends it."""

    sub: str = Field(default="", max_length=255)
    email: str = Field(default="", max_length=255)


class SessionNumber(BaseModel):
    """A session."""

    number: int


class NewPassword(PersonName):
    """A person and a password."""

    password: str


class NewPerson(NewPassword):
    """A person to add."""

    role: Role


@router.get("/login")
def how_to_log_in(hub: CurrentHub) -> dict[str, Any]:
    """Whether a login needs a name, as where there are several people, whether anybody's needs a one-time code, and whether
    it is by the institution's provider, by password, or by either."""
    present = [person for person in hub.people.all().values() if not person.disabled]
    return {
        "named": len(present) > 1,
        "coded": any(person.coded for person in present),
        "provider": hub.provider is not None,
        "passwords": not hub.settings.oidc_only,
    }


@router.post("/login")
async def log_in(request: Login, hub: CurrentHub, connection: Request) -> dict[str, str]:
    """Start a session of the person with this password."""
    state = connection.app.state
    if hub.settings.oidc_only:
        raise HTTPException(403, with_code("H9", "Passwords do not log in here: log in by the institution's account."))
    async with state.login:
        if state.wrong.reached(""):
            raise HTTPException(429, with_code("H9", "Too many wrong passwords. Try again in a minute."))
        session = await run_in_threadpool(hub.people.log_in, request.name, request.password, request.code)
        if not session:
            state.wrong.count("")
            raise HTTPException(403, with_code("H9", "Wrong name, password or one-time code."))
    return {"session": session}


def _provider(hub: CurrentHub) -> Provider:
    if hub.provider is None:
        raise UserError(
            "H9", "This hub has no institution's login. Expected EMBRYOFL_OIDC_ISSUER: see docs/operations.md."
        )
    return hub.provider


CurrentProvider = Annotated[Provider, Depends(_provider)]


@router.post("/login/provider")
def begin_login(provider: CurrentProvider) -> dict[str, str]:
    """Where the browser is to go to log in at the institution's provider, and the state with which it comes back."""
    address, state = provider.begin()
    return {"address": address, "state": state}


@router.post("/login/provider/finish")
def finish_login(request: Finished, hub: CurrentHub, provider: CurrentProvider) -> dict[str, str]:
    """Start a session of the person who has logged in at the provider, if it is one of this hub's."""
    account = provider.finish(request.state, request.code)
    session, bound = hub.people.log_in_as(account.name, account.email)
    if bound:
        hub.audit.write("person_bound", person=bound, account=account.name, by=bound)
    if not session:
        log.warning("nobody may log in with the account %s", account.name)
        raise HTTPException(
            403,
            with_code(
                "H9",
                "Your institution knows you, but nobody who may log in here has your account. Ask the hub's operator for: "
                f"people bind NAME --sub {account.sub}",
            ),
        )
    return {"session": session}


@router.post("/logout")
def log_out(hub: CurrentHub, who: CurrentCaller) -> dict[str, str]:
    """End the caller's session."""
    hub.people.log_out(who.session)
    return {"state": "ended"}


@router.get("/people", dependencies=[Depends(auditing)])
def people(hub: CurrentHub) -> list[dict[str, Any]]:
    return [vars(person) for person in hub.people.all().values()]


@router.post("/people")
def add(request: NewPerson, hub: CurrentHub, by: str = MANAGES) -> dict[str, str]:
    hub.people.add(request.name, request.role, request.password)
    hub.audit.write("person_added", person=request.name, role=request.role, by=by)
    return {"name": request.name}


@router.post("/people/password")
def set_password(request: NewPassword, hub: CurrentHub, by: str = MANAGES) -> dict[str, str]:
    hub.people.set_password(request.name, request.password)
    hub.audit.write("password_replaced", person=request.name, by=by)
    return {"name": request.name}


@router.post("/people/codes/end")
def end_codes(request: PersonName, hub: CurrentHub, by: str = MANAGES) -> dict[str, str]:
    """For a person who has lost the app."""
    hub.people.drop_codes(request.name)
    hub.audit.write("codes_not_required", person=request.name, by=by)
    return {"name": request.name}


@router.post("/people/bind")
def bind(request: Binding, hub: CurrentHub, by: str = MANAGES) -> dict[str, str]:
    """Say which account at the institution's login is this person's."""
    account = f"{_provider(hub).issuer} {request.sub}" if request.sub else request.email
    if request.email and (request.sub or not _EMAIL.fullmatch(request.email)):
        raise UserError("H10", f"{request.email!r} cannot be bound. Expected a sub, or one e-mail address.")
    hub.people.bind(request.name, account)
    hub.audit.write("person_bound", person=request.name, account=account, by=by)
    return {"name": request.name}


@router.get("/sessions", dependencies=[Depends(auditing)])
def sessions(hub: CurrentHub) -> list[dict[str, Any]]:
    return [vars(session) for session in hub.people.sessions()]


@router.post("/sessions/end")
def end_session(request: SessionNumber, hub: CurrentHub, by: str = MANAGES) -> dict[str, str]:
    person = hub.people.end(request.number)
    hub.audit.write("session_ended", person=person, by=by)
    return {"name": person}


@router.post("/people/disable")
def disable(request: PersonName, hub: CurrentHub, by: str = MANAGES) -> dict[str, str]:
    hub.people.disable(request.name)
    hub.audit.write("person_disabled", person=request.name, by=by)
    return {"name": request.name}
