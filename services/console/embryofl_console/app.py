"""The console's web application: the guard in front, login, and the pages behind."""

import hmac

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from embryofl.errors import UserError, with_code
from embryofl_console.context import SITE, PageContext, Typed
from embryofl_console.hub import SESSION, Follower, HubClient
from embryofl_console.local_clinics import LocalClinics
from embryofl_console.logins import Logins
from embryofl_console.pages import account, clinics, hub, overview, results, runs
from embryofl_console.settings import ConsoleSettings
from embryofl_console.texts import texts
from embryofl_web.guard import OPEN, Guard, Rules
from embryofl_web.texts import texts as web

MOST_BYTES = 1 << 16  # in a request's body: the console has only forms
OPENED = (
    OPEN | {("GET", path) for path in ("/login", "/login/provider", "/login/back", "/healthz")} | {("POST", "/login")}
)
LOGIN_S = 600  # the hub waits as long for a browser that has gone to the institution's provider


def create_app(settings: ConsoleSettings, client: HubClient) -> Guard:
    """The console of one hub."""
    logins = Logins(settings.identity / "sessions.json")
    app = SITE.application(texts.access.not_a_form)
    guard = Guard(
        app, logins, Rules("embryofl_console", settings.allowed, MOST_BYTES, OPENED, ("http", "https")), _refuse
    )
    context = PageContext(
        client, Follower(client), settings, LocalClinics(settings.demo_socket), guard.session_of, logins.person
    )

    async def as_person(request: Request) -> None:
        """The hub is asked as the person at the browser, who may change something only as coordinator, but for
        what is that person's own."""
        own = request.url.path.startswith("/account/")
        if request.method == "POST" and not own and not context.person(request).acts:
            raise HTTPException(403)  # as the hub says, too; test clinics are no affair of the hub's
        SESSION.set(guard.session_of(request))

    _login(app, client, guard)
    for page in (overview, clinics, runs, results, hub, account):
        app.include_router(page.routes(context), dependencies=[Depends(as_person)])
    app.add_exception_handler(403, _not_for_the_role)

    @app.get("/healthz")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/here", status_code=204)
    def here(response: Response) -> None:
        """Open pages ask whether the console is up, their session valid, and anything new."""
        response.headers["X-Version"] = str(context.follower.now()[0])

    return guard


def _refuse(key: str, request: Request) -> Response:
    """Those who open a page without a session are asked to log in."""
    if key != "locked":
        return SITE.refusal(key)
    if request.method in ("GET", "HEAD") and (
        request.url.path == "/" or "text/html" in request.headers.get("accept", "")
    ):
        return RedirectResponse("/login", 303)
    return PlainTextResponse(web.access.locked[1], 401)


def _not_for_the_role(_: Request, __: Exception) -> HTMLResponse:
    return SITE.error(with_code("H11", texts.access.role), 403, texts.access.role_title)


def _login(app: FastAPI, client: HubClient, guard: Guard) -> None:
    """Add the routes of login and logout. The login page has no script."""
    errors = {403: texts.access.wrong_password, 429: texts.access.too_many, 503: texts.access.hub_away}

    def page(error: str = "", status: int = 200) -> HTMLResponse:
        return SITE.show(
            "login", texts.access.log_in, status, error=error, entered=False, inside=False, **client.login()
        )

    @app.get("/login")
    def login_page(request: Request) -> HTMLResponse:
        return page(texts.access.again if "again" in request.query_params else "")

    @app.post("/login")
    def log_in(request: Request, fields: Typed) -> Response:
        name, code = fields.get("name", "").strip(), fields.get("code", "").strip()
        status, session = client.log_in(name, fields.get("password", ""), code)
        if not session:
            return page(errors.get(status, texts.access.wrong_password), status)
        return guard.let_in(request, RedirectResponse("/", 303), session)

    @app.get("/login/provider")
    def to_provider(request: Request) -> Response:
        """The state goes along as a cookie, so that nobody can have another's browser finish a login of one's own. `lax`:
        it comes back from another site."""
        try:
            address, state = client.begin_login()
        except UserError as exc:
            return page(str(exc), 503)
        there = RedirectResponse(address, 303)
        there.set_cookie(guard.login_cookie(request), state, LOGIN_S, path="/login/back", httponly=True, samesite="lax")
        return there

    @app.get("/login/back")
    def from_provider(request: Request, state: str = "", code: str = "") -> Response:
        cookie = guard.login_cookie(request)
        begun = request.cookies.get(cookie, "")
        try:
            if not begun or not hmac.compare_digest(begun.encode(), state.encode()) or not code:
                return page(texts.access.not_from_here, 403)
            session = client.finish_login(state, code)
        except UserError as exc:
            return page(str(exc), 403)
        # Not a redirect: the browser came from another site, and would not send the new cookie along with it.
        entered = SITE.show("login", texts.access.log_in, entered=False, inside=True, error="")
        entered.headers["Refresh"] = "0; url=/"
        entered.delete_cookie(cookie, "/login/back")
        return guard.let_in(request, entered, session)

    @app.post("/logout")
    def log_out(request: Request) -> Response:
        client.log_out(guard.session_of(request))
        return RedirectResponse("/login", 303)
