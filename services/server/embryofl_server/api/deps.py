"""What routes depend on: the hub, who is asking and whether that role may, and the limit on rejected attempts."""

import asyncio
import collections
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, HTTPException, Request
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embryofl.errors import with_code
from embryofl_server.hub import Hub
from embryofl_server.members.limits import Limit


def _hub_of(request: Request) -> Hub:
    hub: Hub = request.app.state.hub
    return hub


CurrentHub = Annotated[Hub, Depends(_hub_of)]

BODY_S = 20.0  # for the body of a request that strangers may make: a few kB
OF_ADDRESS, OF_ALL = 16, 256  # requests to join that are under way at a time; each takes milliseconds


class PromptBodies:
    """ASGI middleware: a request on one of `paths` whose body has not arrived within `BODY_S` is answered without it."""

    def __init__(self, app: ASGIApp, paths: frozenset[str]) -> None:
        self._app, self._paths = app, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or scope["path"] not in self._paths:
            await self._app(scope, receive, send)
            return
        end = asyncio.get_running_loop().time() + BODY_S

        async def in_time() -> Message:
            async with asyncio.timeout_at(end):
                return await receive()

        await self._app(scope, in_time, send)


class FewAtOnce:
    """ASGI middleware: at `path`, at most `OF_ADDRESS` requests of one address and `OF_ALL` of all are under way at a time;
    more are answered 503 by their headers alone. So strangers whose bodies never end keep neither the server's connections
    nor, from one address, the place of who joins from another."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app, self._path, self._under_way = app, path, collections.Counter[str]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] != "http" or scope["path"] != self._path:
            await self._app(scope, receive, send)
            return
        address = Headers(scope=scope).get("x-forwarded-for", "")
        if self._under_way[address] >= OF_ADDRESS or self._under_way.total() >= OF_ALL:
            text = with_code("C6", "Too many requests at once to join; try again in a minute.")
            await JSONResponse({"error": text}, status_code=503, headers={"Connection": "close"})(scope, receive, send)
            return
        self._under_way[address] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way[address] -= 1
            self._under_way += collections.Counter()  # drops addresses that have none


Address = Annotated[str, Header(alias="x-forwarded-for")]
"""The gateway replaces what a client writes there by the address it came from (Caddy trusts no client's header)."""


@dataclass(frozen=True)
class Caller:
    """Who calls the control API. `by`: for the audit log. `role`: of a person who is logged in; else `operator`, who has
    the token of the hub's machine, or `console`, where nobody is logged in. `person`, `session`: else ""."""

    by: str
    role: str
    person: str = ""
    session: str = ""


def _token(request: Request) -> bytes:
    return request.headers.get("authorization", "").removeprefix("Bearer ").encode()


def caller(
    request: Request,
    hub: CurrentHub,
    session: Annotated[str, Header(alias="x-embryofl-session", max_length=100)] = "",
    claim: Annotated[str, Header(alias="x-embryofl-by", max_length=100)] = "",
) -> Caller:
    """Require a token of the control API: the console's own or that of the hub's machine; and a person's session, if one is
    named."""
    token = _token(request)
    operator = hmac.compare_digest(token, hub.identity.control_token.encode())
    if not operator and not hmac.compare_digest(token, hub.identity.console_token.encode()):
        raise HTTPException(401, "The control API needs the hub's control token.")
    if session:
        person = hub.people.logged_in(session)
        if person is None:
            raise HTTPException(401, "This session has ended. Log in again.")
        by = f"{person.name} (command line)" if operator else person.name
        return Caller(by, person.role, person.name, session)
    if operator:
        return Caller(f"operator ({claim})" if claim else "operator", "operator")
    return Caller("console", "console")


CurrentCaller = Annotated[Caller, Depends(caller)]


def _only(*roles: str) -> Callable[[Caller], str]:
    def check(who: CurrentCaller) -> str:
        if who.role not in roles:
            raise HTTPException(
                403,
                with_code("H11", f"This is not for the role {who.role} ({who.by}). Expected: {' or '.join(roles)}."),
            )
        return who.by

    return check


acting = _only("coordinator", "operator")
auditing = _only("auditor", "coordinator", "operator")
operating = _only("operator")


def notifier(
    request: Request, hub: CurrentHub, session: Annotated[str, Header(alias="x-embryofl-session", max_length=100)] = ""
) -> None:
    """Require the notifier's token. For what `caller` depends on it is none."""
    if not hmac.compare_digest(_token(request), hub.identity.notices_token.encode()):
        _only("notifier")(caller(request, hub, session))


def by_method(request: Request, who: CurrentCaller) -> None:
    """What only reads is for every role, and what may change something for coordinators."""
    if request.method != "GET":
        acting(who)


By = Annotated[str, Depends(acting)]
"""Who does it, for the audit log: the person's name, or `operator` with what the command says of itself in brackets."""


def strangers(kind: str, message: str) -> Callable[..., None]:
    """A dependency for routes open to strangers: rejected attempts of a `kind` are counted by address, and from
    `REJECTED` on answered with `message` alone. Members share addresses with strangers (a tunnel, a hospital's network),
    so that what they ask for is done whatever the count is."""

    def note(request: Request, address: Address = "") -> None:
        request.state.rejected = Rejections(request.app.state.limits[kind], address, message)

    return note


@dataclass(frozen=True)
class Rejections:
    """Rejected attempts of an address, and what to answer if they are too many."""

    limit: Limit
    address: str
    message: str

    def too_many(self) -> bool:
        """Count one more, unless there are too many."""
        if self.limit.reached(self.address):
            return True
        self.limit.count(self.address)
        return False
