"""Checks before every request: Host, Origin, session and route; adds the security headers to every response."""

import re
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embryofl.errors import with_code
from embryofl_console.login_sessions import LoginSessions
from embryofl_console.policy import policy
from embryofl_console.texts import texts

_OPEN = {("GET", "/login"), ("POST", "/login"), ("GET", "/healthz"), ("GET", "/login.css")}
# Only the routes that a Gradio page without files needs. Uploads, files, proxies, streams and the API listing get 404.
_ROUTES = re.compile(
    r"/|/config|/theme\.css|/favicon\.ico|/manifest\.json|/logout|/here|/console\.(js|css)|/(assets|static)/[\w./@-]+"
    r"|/gradio_api/(info|startup-events|theme\.css|heartbeat/\w+|queue/(join|data)|run/\w+|reset|cancel)/?"
    r"|/download/run-[0-9]{4,9}/[a-z-]+\.[a-z]+"
)
MOST_BYTES = 1 << 16  # in a request's body: the console has only forms
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
    logins : LoginSessions
    names : list of str
        Host names to answer to; any other was pointed at this machine by somebody else (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, logins: LoginSessions, names: list[str]) -> None:
        self.app, self._logins, self._names = app, logins, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or reject it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
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
        await self.app(scope, receive, sender)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        method, path, host = scope["method"], scope["path"], headers.get("host", "")
        origin, site, length = headers.get("origin"), headers.get("sec-fetch-site"), headers.get("content-length", "0")
        checks = (
            (host.rpartition(":")[0] in self._names or host in self._names, texts.access.wrong_host, 421),
            (method in ("GET", "HEAD", "POST"), texts.access.not_here, 405),
            (origin in (None, f"http://{host}", f"https://{host}"), texts.access.other_site, 403),
            (site not in ("cross-site", "same-site") or path == "/", texts.access.other_site, 403),
            (method != "POST" or origin is not None, texts.access.other_site, 403),  # every browser sends it
            ("transfer-encoding" not in headers, texts.access.too_large, 411),  # every browser states the length
            (length.isdecimal() and int(length) <= MOST_BYTES, texts.access.too_large, 413),
        )
        for passes, text, status in checks:
            if not passes:
                return PlainTextResponse(with_code("H9", text), status)
        if (method, path) in _OPEN:
            return None
        if not self._logins.is_valid(session_of(host, headers.get("cookie", ""))):
            return RedirectResponse("/login", 303) if path == "/" else PlainTextResponse(texts.access.log_in_first, 401)
        if ".." in path or not _ROUTES.fullmatch(path):
            return PlainTextResponse(texts.access.not_here, 404)
        return None


def cookie_name(host: str) -> str:
    """Of the session, by the Host header: browsers send cookies to all ports of a host name, so that each needs its own."""
    port = re.search(r":(\d+)$", host)
    return f"embryofl_console_{port[1] if port else 80}"


def session_of(host: str, cookies: str) -> str:
    """The session's name in a Cookie header, or ""."""
    try:
        cookie = SimpleCookie(cookies).get(cookie_name(host))
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def _with_headers(send: Send, *, is_page: bool) -> Send:
    """Add the headers. A page is held back until it is complete, since its policy names the hashes of its scripts."""
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
