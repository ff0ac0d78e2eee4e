"""The console's web application: the guard in front, login, and Gradio's pages behind."""

import html
from collections.abc import Callable
from pathlib import Path

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp

from embryofl.errors import with_code
from embryofl_console import downloads
from embryofl_console.guard import Guard, cookie_name, session_of
from embryofl_console.hub import Follower, HubClient
from embryofl_console.login_sessions import SESSION_S, LoginSessions
from embryofl_console.pages import build
from embryofl_console.settings import ConsoleSettings
from embryofl_console.texts import texts

_FOLDER = Path(__file__).parent
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "sans-serif")
# The theme's main button is white on a light colour and its subdued text grey on grey: both are hard to read.
_COLOURS = {
    "background_fill": "#005a8c",
    "background_fill_hover": "#00466d",
    "border_color": "#005a8c",
    "text_color": "white",
}
_PRIMARY = {f"button_primary_{part}{dark}": colour for part, colour in _COLOURS.items() for dark in ("", "_dark")}
_MONO = ("ui-monospace", "Consolas", "monospace")


def _file(name: str) -> Callable[[], FileResponse]:
    return lambda: FileResponse(_FOLDER / name)


def _login(error: str = "", status: int = 200) -> HTMLResponse:
    """The page that asks for the password, with an error; it has no script."""
    wrong = f'<p class="wrong" role="alert">{html.escape(with_code("H9", error))}</p>' if error else ""
    shown = {"title": texts.page.title, "research": texts.page.research}
    shown |= {"password": texts.access.password, "log_in": texts.access.log_in}
    return HTMLResponse((_FOLDER / "login.html").read_text().format(error=wrong, **shown), status)


def create_app(settings: ConsoleSettings, client: HubClient) -> ASGIApp:
    """The console of one hub."""
    logins, follower = LoginSessions(settings.state / "password"), Follower(client)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/healthz")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/login")
    def login_page(request: Request) -> HTMLResponse:
        return _login(texts.access.again if "again" in request.query_params else "")

    @app.post("/login")
    async def log_in(request: Request) -> Response:
        if not logins.has_password():
            return _login(texts.access.no_password, 403)
        if logins.too_many():
            return _login(texts.access.too_many, 429)
        form = await request.form(max_files=0, max_fields=2)
        session = logins.log_in(str(form.get("password", "")))
        if not session:
            return _login(texts.access.wrong_password, 403)
        response = RedirectResponse("/", 303)
        name = cookie_name(request.headers.get("host", ""))
        response.set_cookie(name, session, max_age=int(SESSION_S), httponly=True, samesite="strict")
        return response

    @app.get("/logout")
    def log_out(request: Request) -> Response:
        logins.log_out(session_of(request.headers.get("host", ""), request.headers.get("cookie", "")))
        return RedirectResponse("/login", 303)

    @app.get("/here", status_code=204)
    def here() -> None:
        """Open pages ask whether the console is up and their session valid."""

    for name in ("login.css", "console.css", "console.js"):
        app.get(f"/{name}")(_file(name))
    app.include_router(downloads.routes(client))
    script_tag = f'<script src="/console.js" defer data-away="{html.escape(texts.access.away)}"></script>'
    theme = gr.themes.Base(font=_FONTS, font_mono=_MONO).set(body_text_color_subdued="*neutral_600", **_PRIMARY)
    pages = build(client, follower, settings)
    pages.has_launched = True  # only then Gradio checks files that a request names; mounting does not set it (6.31)
    gr.mount_gradio_app(
        app,
        pages,
        path="/",
        theme=theme,
        footer_links=[],
        show_error=False,
        max_file_size=1,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        blocked_paths=["/"],
        head=f'<link rel="stylesheet" href="/console.css">{script_tag}',
    )
    return Guard(app, logins, settings.allowed)
