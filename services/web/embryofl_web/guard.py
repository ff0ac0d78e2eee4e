"""Checks before every request: Host, method, Origin, size, session; adds the security headers to every response.

Threats: other people on the network (host names), web pages open in the same browser (DNS rebinding: the Host; cross-site
requests: the Origin and a SameSite cookie), other users of the machine (the session), large bodies.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embryofl_web.sessions import SESSION_S

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; frame-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # same-origin and not no-referrer: with the latter browsers send `Origin: null` with a form
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
    "Server": "EmbryoFL",
}
STATUS = {"host": 421, "method": 405, "origin": 403, "no_length": 411, "too_large": 413, "locked": 401}
"""Reasons to reject a request, and the status of the response."""
OPEN = frozenset({("GET", "/web.css")})
"""Method and path of what every app serves without a session: the pages that reject a request need it."""
_HOST = re.compile(r"(\[[0-9a-f:]+\]|[^:\[\]]+)(?::\d{1,5})?")


class AnySessions(Protocol):
    """What the guard needs of sessions."""

    def is_valid(self, name: str) -> bool:
        """Whether this session exists and has not expired."""


@dataclass(frozen=True)
class Rules:
    """What an app accepts.

    Attributes
    ----------
    cookie : str
        First part of the session cookie's name.
    names : sequence of str
        Host names to answer to; any other was pointed at this machine by somebody else.
    most_bytes : int
        In a request's body.
    open : frozenset of (str, str)
        Method and path of what is served without a session.
    schemes : sequence of str
        Of the page that may send a form: "https" where a proxy may stand in front.
    """

    cookie: str
    names: Sequence[str]
    most_bytes: int
    open: frozenset[tuple[str, str]] = OPEN
    schemes: Sequence[str] = ("http",)


class Guard:
    """ASGI middleware around a whole app.

    Parameters
    ----------
    app : ASGIApp
    sessions : AnySessions
    rules : Rules
    refuse : callable
        Makes the response to a rejected request, by a key of `STATUS`.
    """

    def __init__(
        self, app: ASGIApp, sessions: AnySessions, rules: Rules, refuse: Callable[[str, Request], Response]
    ) -> None:
        self.app, self.rules = app, rules
        self._sessions, self._refuse = sessions, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or reject it. Anything but HTTP, such as a web socket, gets no response."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            request = Request(scope)
            key = self._objection(request)
            await (self._refuse(key, request) if key else self.app)(scope, receive, _with_headers(send))

    def session_of(self, request: Request) -> str:
        """The session's name in the request's cookie, or ""."""
        return request.cookies.get(self._cookie(request), "")

    def let_in(self, request: Request, response: Response, name: str) -> Response:
        """Have the browser keep a session's name, hidden from scripts and other sites."""
        response.set_cookie(self._cookie(request), name, max_age=int(SESSION_S), httponly=True, samesite="strict")
        return response

    def login_cookie(self, request: Request) -> str:
        """The name of a cookie for a login that is under way elsewhere."""
        return f"{self._cookie(request)}_login"

    def _cookie(self, request: Request) -> str:
        """Browsers send cookies to all ports of a host name, so that each port needs its own."""
        _, colon, port = request.headers.get("host", "").rpartition(":")
        return f"{self.rules.cookie}_{port if colon and port.isdecimal() else 80}"

    def _objection(self, request: Request) -> str:
        """Why the request is rejected, a key of `STATUS`; "" for one that passes."""
        hosts, length = request.headers.getlist("host"), request.headers.get("content-length", "0")
        name = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if name is None or name[1] not in self.rules.names:
            return "host"
        if request.method not in ("GET", "HEAD", "POST"):
            return "method"
        if self._is_cross_site(request, hosts[0]):
            return "origin"
        if "transfer-encoding" in request.headers:  # every browser states the length
            return "no_length"
        if not length.isdecimal() or int(length) > self.rules.most_bytes:
            return "too_large"
        if (request.method, request.url.path) in self.rules.open:
            return ""
        return "" if self._sessions.is_valid(self.session_of(request)) else "locked"

    def _is_cross_site(self, request: Request, host: str) -> bool:
        """Whether another site's page sent this. Every browser sends the Origin of a form. Following a link or typing an
        address is harmless: GET changes nothing."""
        origins = request.headers.getlist("origin")
        if origins or request.method == "POST":
            return len(origins) != 1 or origins[0] not in [f"{scheme}://{host}" for scheme in self.rules.schemes]
        site, mode = request.headers.get("sec-fetch-site", "none"), request.headers.get("sec-fetch-mode")
        return site not in ("none", "same-origin") and mode != "navigate"


def _with_headers(send: Send) -> Send:
    """Add the headers. A response may have a stricter policy of its own, and then says itself who may frame it."""

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            own = "content-security-policy" in headers
            headers.update(
                {k: v for k, v in HEADERS.items() if not own or k not in ("Content-Security-Policy", "X-Frame-Options")}
            )
        await send(message)

    return with_headers
