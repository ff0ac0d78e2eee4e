"""What stands before every request: Host, Origin, session, the few routes that are needed, and security headers."""

import re
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embryofl_console import texts
from embryofl_console.login_sessions import LoginSessions
from embryofl_console.policy import policy

COOKIE = "embryofl_console"
_OPEN = {("GET", "/login"), ("POST", "/login"), ("GET", "/healthz"), ("GET", "/login.css")}
# All that a page of Gradio without files needs. Uploads, files, proxies, streams, the API's listing: not there.
_ROUTES = re.compile(
    r"/|/config|/theme\.css|/favicon\.ico|/manifest\.json|/logout|/here|/console\.(js|css)|/(assets|static)/[\w./@-]+"
    r"|/gradio_api/(info|startup-events|theme\.css|heartbeat/\w+|queue/(join|data)|run/\w+|reset|cancel)/?"
    r"|/download/run-[0-9]{4,9}/[a-z-]+\.[a-z]+"
)
MOST_BYTES = 1 << 16  # of a request's body: there are only forms
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer a form's Origin would be "null"
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """ASGI middleware around the whole console.

    Parameters
    ----------
    app : ASGIApp
    door : LoginSessions
    names : list of str
        What a browser may call this host; another name is one that somebody has pointed here (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, door: LoginSessions, names: list[str]) -> None:
        self._app, self._door, self._names = app, door, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, refuse, or pass on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no web sockets here
            return
        sender = _with_headers(send, is_page=scope["path"] == "/")
        if scope["path"] == "/":  # its scripts are read on the way out, so it must not be compressed
            scope["headers"] = [h for h in scope["headers"] if h[0].lower() != b"accept-encoding"]
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, sender)
            return
        await self._app(scope, receive, sender)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        host = headers.get("host", "")
        if host.rpartition(":")[0] not in self._names and host not in self._names:
            return PlainTextResponse(texts.WRONG_HOST, 421)
        method, path = scope["method"], scope["path"]
        if method not in ("GET", "HEAD", "POST"):
            return PlainTextResponse(texts.NOT_HERE, 405)
        if "origin" in headers and headers["origin"] not in (f"http://{host}", f"https://{host}"):
            return PlainTextResponse(texts.OTHER_SITE, 403)
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and path != "/":
            return PlainTextResponse(texts.OTHER_SITE, 403)
        if method == "POST" and "origin" not in headers:  # every browser sends it
            return PlainTextResponse(texts.OTHER_SITE, 403)
        if "transfer-encoding" in headers:  # a body of no stated length, which no browser sends
            return PlainTextResponse(texts.TOO_LARGE, 411)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            return PlainTextResponse(texts.TOO_LARGE, 413)
        if (method, path) in _OPEN:
            return None
        if not self._door.knows(session_of(headers.get("cookie", ""))):
            return RedirectResponse("/login", 303) if path == "/" else PlainTextResponse(texts.LOG_IN_FIRST, 401)
        if ".." in path or not _ROUTES.fullmatch(path):
            return PlainTextResponse(texts.NOT_HERE, 404)
        return None


def session_of(cookies: str) -> str:
    """The session's name in a Cookie header, or ""."""
    try:
        found = SimpleCookie(cookies).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _with_headers(send: Send, *, is_page: bool) -> Send:
    """Add the headers; of a page hold back its start until all of it is there, since its policy names its scripts."""
    held: list[Message] = []

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
            for name in [n for n in headers if n.startswith("access-control-")]:
                del headers[name]
            headers["Content-Security-Policy"] = policy()
        if not is_page:
            await send(message)
            return
        held.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            body = b"".join(m.get("body", b"") for m in held)
            MutableHeaders(scope=held[0])["Content-Security-Policy"] = policy(body)
            for each in held:
                await send(each)

    return with_headers
