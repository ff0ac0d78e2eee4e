"""Guards the clinic app: an ASGI layer that checks every request and adds the security headers to every response.

Threats: other people on the machine's network (only loopback host names are accepted), web pages open in the same browser
(DNS rebinding: the Host; cross-site requests: the Origin, a SameSite cookie), other users of the machine (nothing without
the printed link), and large bodies.
"""

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from importlib import resources

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "embryofl_clinic"
SESSION_S = 12 * 3600.0
MOST_SESSIONS = 16
MOST_BYTES = 256 * 2**20
"""In one request: a cohort of uncompressed images."""
ENTER = "/enter"
_LOOPBACK = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?")
STYLE = resources.files("embryofl_clinic.app").joinpath("static/app.css").read_text("utf-8")
"""Inline in the guard's own pages: without a session no file is served, not even a style sheet."""
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'self' 'sha256-{_STYLE_HASH}'; script-src 'self'; "
        "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
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


class AccessGuard:
    """Admits only requests of a session, which a single-use link starts.

    Parameters
    ----------
    app : ASGI application
        The app.
    on_link : callable
        Receives the path of the next valid link, at the start and whenever one was used.
    page : callable
        Makes a whole page for a text's key: `locked`, `host`, `origin`, `method`, `too_large`, `used` or `enter`.
    """

    def __init__(self, app: ASGIApp, on_link: Callable[[str], None], page: Callable[[str], str]) -> None:
        self._app, self._on_link, self._page = app, on_link, page
        self._token = ""
        self._sessions: dict[str, float] = {}  # SHA-256 of the cookie's value to its end

    def new_link(self) -> None:
        """Make the next valid link; the previous one expires."""
        self._token = secrets.token_urlsafe(32)
        self._on_link(f"{ENTER}?token={self._token}")

    def forget(self, request: Request) -> None:
        """End the session of a request."""
        self._sessions.pop(_session_of(request), None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or reject it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            request = Request(scope)
            await (self._rejection(request) or self._app)(scope, receive, _with_headers(send))
        # anything else (a web socket) gets no response

    def _rejection(self, request: Request) -> Response | None:
        """The response to a rejected request; None for one that passes."""
        host = request.headers.getlist("host")
        if len(host) != 1 or not _LOOPBACK.fullmatch(host[0]):
            return self._page_of("host", 403)
        if request.method not in ("GET", "HEAD", "POST"):
            return self._page_of("method", 405)
        if self._is_cross_site(request, host[0]):
            return self._page_of("origin", 403)
        if request.method == "POST" and not self._fits(request):
            return self._page_of("too_large", 413)
        if request.url.path == ENTER:
            return self._log_in(request)
        if self._sessions.get(_session_of(request), 0.0) <= time.monotonic():
            return self._page_of("locked", 401)
        return None

    @staticmethod
    def _is_cross_site(request: Request, host: str) -> bool:
        """Whether another site's page sent this. Opening a link or typing an address is harmless: GET changes nothing."""
        if request.method == "POST":
            return request.headers.getlist("origin") != [f"http://{host}"]
        site, mode = request.headers.get("sec-fetch-site", "none"), request.headers.get("sec-fetch-mode", "navigate")
        return site not in ("none", "same-origin") and mode != "navigate"

    @staticmethod
    def _fits(request: Request) -> bool:
        length = request.headers.get("content-length", "")
        chunked = "transfer-encoding" in request.headers
        return length.isdecimal() and int(length) <= MOST_BYTES and not chunked

    def _log_in(self, request: Request) -> Response:
        token = request.query_params.get("token", "")
        if request.method != "GET" or not self._token or not hmac.compare_digest(token.encode(), self._token.encode()):
            return self._page_of("used", 403)
        cookie = secrets.token_urlsafe(32)
        now = time.monotonic()
        self._sessions = {k: end for k, end in self._sessions.items() if end > now}
        while len(self._sessions) >= MOST_SESSIONS:
            self._sessions.pop(min(self._sessions, key=self._sessions.__getitem__))
        self._sessions[_digest(cookie)] = now + SESSION_S
        self.new_link()
        # Not a redirect: a browser sent here by another program would withhold the strict cookie from it.
        response = self._page_of("enter", 200)
        name = _cookie_name(request)
        response.set_cookie(name, cookie, max_age=int(SESSION_S), httponly=True, samesite="strict", path="/")
        return response

    def _page_of(self, key: str, status: int) -> Response:
        return HTMLResponse(self._page(key), status, headers={"Connection": "close"} if status == 413 else None)


def _cookie_name(request: Request) -> str:
    """Browsers send cookies to all ports of a host name, so that each port needs its own."""
    return f"{COOKIE}_{request.url.port or 80}"


def _session_of(request: Request) -> str:
    return _digest(request.cookies.get(_cookie_name(request), ""))


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()


def _with_headers(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return with_headers
