"""The control API's part for a person's own account: password, one-time codes, sessions."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from embryofl.errors import UserError, with_code
from embryofl_server.api.deps import Caller, CurrentCaller, CurrentHub
from embryofl_server.api.people import SessionNumber
from embryofl_server.state.one_time_codes import uri
from embryofl_server.state.people import LONGEST

router = APIRouter(prefix="/account")


class Present(BaseModel):
    """The present password of the person who asks."""

    password: str = Field(max_length=LONGEST)


class Replaced(Present):
    """The present password, and the new one."""

    new: str


class Code(BaseModel):
    """A one-time code."""

    code: str = Field(max_length=20)


def _person(who: CurrentCaller) -> Caller:
    if not who.person:
        raise HTTPException(403, with_code("H11", f"This is for people who are logged in, not for {who.by}."))
    return who


Self = Annotated[Caller, Depends(_person)]


async def _check(connection: Request, hub: CurrentHub, name: str, password: str) -> None:
    """Raise `UserError` for a wrong password, which counts as one of a login."""
    state = connection.app.state
    async with state.login:
        if state.wrong.reached(""):
            raise UserError("H9", "Too many wrong passwords. Try again in a minute.")
        if not await run_in_threadpool(hub.people.is_password, name, password):
            state.wrong.count("")
            raise UserError("H9", "This is not your present password. Nothing was changed.")


@router.get("")
def account(hub: CurrentHub, who: Self) -> dict[str, Any]:
    """Who asks, and that person's sessions."""
    sessions = [vars(session) for session in hub.people.sessions(who.session) if session.person == who.person]
    return {**vars(hub.people.person(who.person)), "sessions": sessions}


@router.post("/password")
async def password(request: Replaced, connection: Request, hub: CurrentHub, who: Self) -> dict[str, str]:
    """Replace one's own password, which ends all one's sessions."""
    await _check(connection, hub, who.person, request.password)
    await run_in_threadpool(hub.people.set_password, who.person, request.new)
    hub.audit.write("password_replaced", person=who.person, by=who.by)
    return {"name": who.person}


@router.post("/codes")
def begin_codes(hub: CurrentHub, who: Self) -> dict[str, str]:
    """Make a key for one's own one-time codes."""
    key = hub.people.begin_codes(who.person)
    return {"key": key, "uri": uri(key, who.person)}


@router.post("/codes/confirm")
def confirm_codes(request: Code, hub: CurrentHub, who: Self) -> dict[str, str]:
    """From now on one's own login needs a code."""
    hub.people.confirm_codes(who.person, request.code)
    hub.audit.write("codes_required", person=who.person, by=who.by)
    return {"name": who.person}


@router.post("/codes/end")
async def end_codes(request: Present, connection: Request, hub: CurrentHub, who: Self) -> dict[str, str]:
    """One's own login needs no code any more."""
    await _check(connection, hub, who.person, request.password)
    hub.people.drop_codes(who.person)
    hub.audit.write("codes_not_required", person=who.person, by=who.by)
    return {"name": who.person}


@router.post("/sessions/end")
def end_session(request: SessionNumber, hub: CurrentHub, who: Self) -> dict[str, str]:
    """End one of one's own sessions."""
    hub.people.end(request.number, who.person)
    hub.audit.write("session_ended", person=who.person, by=who.by)
    return {"name": who.person}
