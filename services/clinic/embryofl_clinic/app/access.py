"""Who may use the clinic app: this machine's browsers, with a session that a single-use link starts."""

import hmac
import secrets
from collections.abc import Callable

from fastapi import FastAPI, Request
from starlette.responses import RedirectResponse, Response

from embryofl_clinic.texts import texts
from embryofl_web.guard import OPEN, Guard, Rules
from embryofl_web.sessions import Sessions
from embryofl_web.site import Site

MOST_BYTES = 256 * 2**20
"""In one request: a cohort of uncompressed images."""
ENTER = "/enter"
RULES = Rules(
    "embryofl_clinic", ("127.0.0.1", "localhost", "[::1]"), MOST_BYTES, OPEN | {("GET", ENTER), ("HEAD", ENTER)}
)


class Links:
    """The links that start a session.

    Parameters
    ----------
    on_link : callable
        Receives the path of the next valid link, at the start and whenever one was used.
    """

    def __init__(self, on_link: Callable[[str], None]) -> None:
        self.sessions = Sessions()
        self._on_link, self._token = on_link, ""

    def new_link(self) -> None:
        """Make the next valid link; the previous one expires."""
        self._token = secrets.token_urlsafe(32)
        self._on_link(f"{ENTER}?token={self._token}")

    def use(self, token: str) -> str:
        """The name of a new session, or "" for a link that is not valid."""
        if not self._token or not hmac.compare_digest(token.encode(), self._token.encode()):
            return ""
        self.new_link()
        return self.sessions.open()


def add_access(app: FastAPI, links: Links, guard: Guard, site: Site) -> None:
    """Add the routes that start and end a session."""

    @app.api_route(ENTER, methods=["GET", "HEAD"])
    def enter(request: Request, token: str = "") -> Response:
        session = links.use(token) if request.method == "GET" else ""
        if not session:
            return site.error(texts.access.used, 403, texts.access.used_title, entered=False)
        # Not a redirect: a browser sent here by another program would withhold the strict cookie from it.
        return guard.let_in(request, site.show("enter", texts.access.enter_title, entered=False), session)

    @app.post("/leave")
    def leave(request: Request) -> Response:
        links.sessions.close(guard.session_of(request))
        return RedirectResponse("/", 303)
