"""The pages of the clinic app; `access.py` guards them."""

import logging
import time
from importlib import resources
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from python_multipart.exceptions import FormParserError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from embryofl.errors import UserError
from embryofl.texts import size
from embryofl_clinic.app.access import COOKIE, STYLE, AccessGuard
from embryofl_clinic.app.records import MOST, Pictures, Record, Records
from embryofl_clinic.app.reporting import ReportService
from embryofl_clinic.app.scoring_service import MOST_FILE_BYTES, MOST_FILES, ScoringService, Upload
from embryofl_clinic.joining.identity import JoinedHub
from embryofl_clinic.policy.sent import MOST as MOST_SENT
from embryofl_clinic.policy.sent import Sent, SentLog, by_round, by_run
from embryofl_clinic.scoring.calibration import FEW
from embryofl_clinic.scoring.model_store import ModelStore
from embryofl_clinic.settings import ClinicSettings
from embryofl_clinic.texts import texts
from embryofl_clinic.workload.own_results import OwnResultsFile
from embryofl_data.report.page import clean

log = logging.getLogger("embryofl.app")

STATIC = {"app.css": "text/css", "app.js": "text/javascript", "report.css": "text/css"}
NAMES = 80
"""Characters of a cohort's name."""


class Pages:
    """Templates and what they show.

    Parameters
    ----------
    settings : ClinicSettings
    device : str
        Where the model runs.
    """

    def __init__(self, settings: ClinicSettings, device: str = "cpu") -> None:
        self.settings = settings
        state = settings.state_dir
        self.models, self.records, self.sent = ModelStore(state), Records(state), SentLog(state)
        self.own_results = OwnResultsFile(state)
        self.scoring = ScoringService(self.models, self.records, device)
        self.reports = ReportService(settings.data_dir, settings.cache_dir)
        self._templates = Environment(
            loader=PackageLoader("embryofl_clinic.app"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(clean=clean, describe=_describe, size=size, local=_local, iso=_iso)
        self._templates.globals.update(t=texts)

    def show(self, name: str, title: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A whole page."""
        return HTMLResponse(self.render(name, title, **values), status)

    def render(self, name: str, title: str, **values: Any) -> str:
        """The same as text."""
        return self._templates.get_template(f"{name}.html.j2").render(here=name, title=title, **values)

    def access_page(self, key: str) -> str:
        """A page of the guard; see `AccessGuard`."""
        title, message = texts.access[f"{key}_title"], texts.access[key]
        style = Markup(STYLE)  # noqa: S704 - our own file
        return self.render("access", title, message=message, entered=key == "enter", style=style)

    def error(self, message: str, status: int) -> HTMLResponse:
        """An error page."""
        return self.show("error", texts.error.title, status, message=message)

    def home(self) -> Response:
        """The overview."""
        models, sent, records = self.models.all(), self.sent.read(), self.records.all()
        alive = self.settings.state_dir / "alive"
        return self.show(
            "home",
            texts.home.title,
            model=models[0].card if models else None,
            own=self.own_results.read().splits,
            sent=sent,
            member=self._member(),
            sent_bytes=sum(s.bytes for s in sent),
            records=records,
            contact=alive.stat().st_mtime if alive.exists() else 0.0,
            connected=alive.exists() and time.time() - alive.stat().st_mtime < 60,
        )

    def result(self, record: Record) -> Response:
        """One scored cohort."""
        shown = record.scores["embryos"]
        pictures = {name: record.pictures.get(name, Pictures()) for name in record.digests}
        return self.show(
            "result",
            clean(record.cohort),
            record=record,
            scores=record.scores,
            pictures=pictures,
            few=FEW,
            calibrated=any(e["calibrated"] is not None for e in shown),
            overlapping=_overlapping(shown),
        )

    def _member(self) -> JoinedHub | None:
        """Name and hub of this clinic, once it has joined; no key is read."""
        try:
            return JoinedHub.model_validate_json((self.settings.identity_dir / "hub.json").read_bytes())
        except (OSError, ValueError):
            return None


def _overlapping(embryos: list[dict[str, Any]]) -> list[str]:
    """The embryos whose intervals overlap that of the first one."""
    seen = [e for e in embryos if e["rank"] and e["seen"]]
    if not seen or seen[0]["rank"] != 1:
        return []
    return [e["embryo"] or e["files"][0] for e in seen[1:] if e["seen"]["high"] >= seen[0]["seen"]["low"]]


def _describe(line: Sent) -> str:
    """What was sent, in words."""
    kind, parts = texts.kind[line.kind], "; ".join(texts.part[part] for part in line.holds)
    what = texts.sent.holding.format(what=kind, parts=parts) if parts else kind
    return str(texts.sent.item.format(what=what, size=size(line.bytes)))


def _local(seconds: float) -> str:
    """A Unix time in this machine's zone; the page's script puts it into the browser's."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def create_app(pages: Pages, on_link: Any) -> AccessGuard:
    """The whole app behind its guard."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    guard = AccessGuard(app, on_link, pages.access_page)

    @app.exception_handler(HTTPException)
    def http_error(_: Request, exc: HTTPException) -> Response:
        if exc.status_code == 404:
            return pages.error(texts.error.not_found, 404)
        return refused_form(None, exc)

    @app.exception_handler(FormParserError)  # Starlette lets some of the parser's errors through
    def refused_form(_: Request | None, exc: Exception) -> Response:
        message = texts.error.upload.format(files=MOST_FILES, size=size(MOST_FILE_BYTES))
        return pages.error(message, getattr(exc, "status_code", 400))

    @app.exception_handler(UserError)
    def user_error(_: Request, exc: UserError) -> Response:
        return pages.error(str(exc), 400)

    @app.exception_handler(Exception)
    def own_error(_: Request, exc: Exception) -> Response:
        return pages.error(texts.error.internal, 500)

    @app.get("/")
    def home() -> Response:
        return pages.home()

    @app.get("/score")
    def score_form() -> Response:
        return pages.show(
            "score",
            texts.score.title,
            models=[m.card for m in pages.models.all()],
            most_files=MOST_FILES,
            most_bytes=MOST_FILE_BYTES,
            names=NAMES,
        )

    @app.post("/score")
    async def score(request: Request) -> Response:
        async with request.form(max_files=MOST_FILES + 1, max_fields=8) as form:
            files = [f for f in form.getlist("images") if isinstance(f, UploadFile) and f.filename]
            uploads = [Upload(f.filename or "", await f.read(MOST_FILE_BYTES + 1)) for f in files]
            cohort, run = (str(form.get(key) or "").strip()[:NAMES] for key in ("cohort", "run"))
            keep = form.get("keep") == "yes"
        record = await run_in_threadpool(pages.scoring.score, uploads, cohort, run, keep=keep)
        return RedirectResponse(f"/scored/{record.id}", 303)

    @app.get("/scored")
    def scored() -> Response:
        return pages.show("records", texts.records.title, records=pages.records.all(), most=MOST)

    @app.get("/scored/{id_}")
    def one_scored(id_: str) -> Response:
        record = pages.scoring.find(id_)
        return pages.error(texts.error.not_found, 404) if record is None else pages.result(record)

    @app.get("/sent")
    def sent() -> Response:
        lines = pages.sent.read()
        return pages.show(
            "sent",
            texts.sent.title,
            groups=by_round(lines),
            runs=by_run(lines),
            bytes=sum(s.bytes for s in lines),
            most=MOST_SENT,
        )

    @app.get("/report")
    def report() -> Response:
        state = pages.reports.state
        made = Markup(state.html)  # noqa: S704 - made by a template that escapes
        return pages.show("report", texts.report.title, state=state, made=made, folder=str(pages.settings.data_dir))

    @app.post("/report")
    def make_report() -> Response:
        pages.reports.begin()
        return RedirectResponse("/report", 303)

    @app.post("/leave")
    def leave(request: Request) -> Response:
        guard.forget(request.cookies.get(COOKIE, ""))
        return RedirectResponse("/", 303)

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in STATIC:
            raise HTTPException(404)
        package = "embryofl_data.report" if name == "report.css" else "embryofl_clinic.app"
        path = "page.css" if name == "report.css" else f"static/{name}"
        return Response(resources.files(package).joinpath(path).read_bytes(), media_type=STATIC[name])

    return guard
