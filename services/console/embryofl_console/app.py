"""The console's web application: the guard in front, login, and the pages behind."""

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from embryofl_console.context import SITE, PageContext
from embryofl_console.hub import Follower, HubClient
from embryofl_console.local_clinics import LocalClinics
from embryofl_console.login_sessions import LoginSessions
from embryofl_console.pages import clinics, hub, overview, results, runs
from embryofl_console.settings import ConsoleSettings
from embryofl_console.texts import texts
from embryofl_web.guard import OPEN, Guard, Rules
from embryofl_web.texts import texts as web

MOST_BYTES = 1 << 16  # in a request's body: the console has only forms
OPENED = OPEN | {("GET", "/login"), ("POST", "/login"), ("GET", "/healthz")}


def create_app(settings: ConsoleSettings, client: HubClient) -> Guard:
    """The console of one hub."""
    logins = LoginSessions(settings.state / "password")
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    guard = Guard(
        app, logins, Rules("embryofl_console", settings.allowed, MOST_BYTES, OPENED, ("http", "https")), _refuse
    )
    context = PageContext(client, Follower(client), settings, LocalClinics(settings.demo_socket), guard.session_of)
    _login(app, logins, guard)
    for page in (overview, clinics, runs, results, hub):
        app.include_router(page.routes(context))
    SITE.serve_files(app)
    SITE.handle_errors(app, texts.access.not_a_form)

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
    return PlainTextResponse(web.access.locked, 401)


def _login_page(error: str = "", status: int = 200) -> HTMLResponse:
    """The page that asks for the password, with an error; it has no script."""
    return SITE.show("login", texts.access.log_in, status, error=error, entered=False)


def _login(app: FastAPI, logins: LoginSessions, guard: Guard) -> None:
    """Add the routes of login and logout."""

    @app.get("/login")
    def login_page(request: Request) -> HTMLResponse:
        return _login_page(texts.access.again if "again" in request.query_params else "")

    @app.post("/login")
    async def log_in(request: Request) -> Response:
        if not logins.has_password():
            return _login_page(texts.access.no_password, 403)
        if logins.too_many():
            return _login_page(texts.access.too_many, 429)
        form = await request.form(max_files=0, max_fields=2)
        session = logins.log_in(str(form.get("password", "")))
        if not session:
            return _login_page(texts.access.wrong_password, 403)
        return guard.let_in(request, RedirectResponse("/", 303), session)

    @app.post("/logout")
    def log_out(request: Request) -> Response:
        logins.log_out(guard.session_of(request))
        return RedirectResponse("/login", 303)
