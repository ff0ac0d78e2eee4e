"""The pages of one app: its templates over those of the kit, error pages, stylesheet and script."""

import time
from collections.abc import Callable, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from mimetypes import guess_type
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from jinja2 import ChoiceLoader, Environment, PackageLoader, PrefixLoader, StrictUndefined
from python_multipart.exceptions import FormParserError
from starlette.exceptions import HTTPException

from embryofl.errors import UserError, with_code
from embryofl.states import label
from embryofl.texts import duration, size
from embryofl_web.guard import STATUS
from embryofl_web.texts import texts

FILES = {name: resources.files("embryofl_web") / "static" / name for name in ("web.css", "web.js")}
# What a state looks like: its tone and its icon, by the stored value. Any other is neutral.
_LOOKS = {
    **dict.fromkeys(("running", "online", "training", "evaluating", "enrolled", "starting"), ("on", "run")),
    **dict.fromkeys(("done", "finished"), ("good", "check")),
    **dict.fromkeys(("waiting", "late", "paused", "queued", "stopping"), ("warn", "clock")),
    **dict.fromkeys(("offline", "suspended"), ("warn", "alert")),
    **dict.fromkeys(("failed", "refused", "stopped", "revoked", "left"), ("bad", "cross")),
}


class Site:
    """Templates and error pages.

    Parameters
    ----------
    package : str
        With a folder `templates`; `web/page.html.j2` and `web/parts.html.j2` are the kit's.
    code : str
        Of this app's errors (`embryofl.troubles`).
    shared : mapping
        Names that all templates know: `t`, the package's texts, and `app`: `name`, `brand`
        (two parts), `pages` (name, address, text), `leave` (address, text), `research`, `foot`, and `here` (see the page).
    """

    def __init__(self, package: str, code: str, shared: Mapping[str, Any]) -> None:
        self._code = code
        self._titles = {name: text for name, _, text in shared["app"]["pages"]}
        kit = PrefixLoader({"web": PackageLoader("embryofl_web")})
        self.templates = Environment(
            loader=ChoiceLoader([PackageLoader(package), kit]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self.templates.filters.update(size=size, duration=duration, local=_local, iso=_iso)
        self.templates.globals.update(
            web=texts, label=label, look=lambda state: _LOOKS.get(state, ("", "info")), clock=time.time, **shared
        )

    def show(self, name: str, title: str = "", status: int = 200, **values: Any) -> HTMLResponse:
        """A whole page, under the title that it has in `pages` or another one; with `style` (see `stylesheet`) as one file
        that loads nothing."""
        values = {
            "here": name,
            "live": "",
            "entered": True,
            "style": "",
            "title": title or self._titles[name],
            **values,
        }
        return HTMLResponse(self.templates.get_template(f"{name}.html.j2").render(values), status)

    def error(self, message: str, status: int, title: str = texts.error.title, *, entered: bool = True) -> HTMLResponse:
        """An error page; without the links to other pages for those who are not logged in."""
        message = with_code(self._code, message)
        return self.show("web/error", title, status, message=message, entered=entered)

    def refusal(self, key: str, message: str = "") -> HTMLResponse:
        """The page for a request that the guard rejects, by a key of `STATUS`."""
        title, words = texts.access[key]
        page = self.error(message or words, STATUS[key], title, entered=False)
        if key in ("too_large", "no_length"):  # the body is not read
            page.headers["Connection"] = "close"
        return page

    def application(self, not_a_form: str, files: Mapping[str, Traversable] = MappingProxyType({})) -> FastAPI:
        """An application that serves stylesheet and script and its own `files` by name, and shows errors as pages;
        `not_a_form`: what to say of a form that could not be read."""
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

        def http_error(_: Request, exc: Exception) -> Response:
            status = getattr(exc, "status_code", 400)
            return self.error(texts.error.not_found if status in (404, 405) else not_a_form, status)

        # Starlette lets some of the form parser's errors through.
        for kind in (HTTPException, RequestValidationError, FormParserError):
            app.add_exception_handler(kind, http_error)
        app.add_exception_handler(UserError, lambda _, exc: self.error(str(exc), 400))
        app.add_exception_handler(Exception, lambda _, exc: self.error(texts.error.internal, 500))
        for name, file in {**FILES, **files}.items():
            app.add_api_route(f"/{name}", _served(file.read_bytes(), name), methods=["GET"])
        return app


def stylesheet() -> str:
    """The stylesheet, for pages that are passed on as one file."""
    return FILES["web.css"].read_text("utf-8")


def _served(content: bytes, name: str) -> Callable[[], Response]:
    return lambda: Response(content, media_type=guess_type(name)[0])


def _local(seconds: float) -> str:
    """A Unix time in this machine's zone; the page's script puts it into the browser's."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
