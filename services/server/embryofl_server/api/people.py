"""The control API's part about people: login, who there is, who is let in. Each route says for whom."""

from typing import Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from embryofl.errors import with_code
from embryofl_server.api.deps import CurrentCaller, CurrentHub, auditing, operating
from embryofl_server.state.people import LONGEST, Role

router = APIRouter()
MANAGES = Depends(operating)


class Login(BaseModel):
    """A person, "" for the only one there is, and a one-time code where the person has them."""

    name: str = Field(default="", max_length=100)
    password: str = Field(max_length=LONGEST)
    code: str = Field(default="", max_length=20)


class PersonName(BaseModel):
    """A person."""

    name: str


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
    """Whether a login needs a name, as where there are several people, and whether anybody's needs a one-time code."""
    present = [person for person in hub.people.all().values() if not person.disabled]
    return {"named": len(present) > 1, "coded": any(person.coded for person in present)}


@router.post("/login")
async def log_in(request: Login, hub: CurrentHub, connection: Request) -> dict[str, str]:
    """Start a session of the person with this password."""
    state = connection.app.state
    async with state.login:
        if state.wrong.reached(""):
            raise HTTPException(429, with_code("H9", "Too many wrong passwords. Try again in a minute."))
        session = await run_in_threadpool(hub.people.log_in, request.name, request.password, request.code)
        if not session:
            state.wrong.count("")
            raise HTTPException(403, with_code("H9", "Wrong name, password or one-time code."))
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
