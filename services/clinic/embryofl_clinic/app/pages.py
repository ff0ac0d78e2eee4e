"""The pages of the clinic's own page. The door is around them: see `access.py`."""

import logging
from importlib import resources
from pathlib import Path
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
from embryofl_clinic import text
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
        self.shelf, self.records, self.sent = (
            ModelStore(settings.state_dir),
            Records(settings.state_dir),
            SentLog(settings.state_dir),
        )
        self.desk = ScoringService(self.shelf, self.records, device)
        self.reports = ReportService(settings.data_dir, settings.cache_dir)
        self._templates = Environment(
            loader=PackageLoader("embryofl_clinic.app"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(
            clean=clean, fill=text.fill, said=_said, size=text.size, local=text.local, iso=text.iso
        )
        self._templates.globals.update(t=text.texts())

    def show(self, name: str, title: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A whole page."""
        return HTMLResponse(self.render(name, title, **values), status)

    def render(self, name: str, title: str, **values: Any) -> str:
        """The same as text."""
        return self._templates.get_template(f"{name}.html.j2").render(here=name, title=title, **values)

    def door_page(self, key: str) -> str:
        """What the door says; see `AccessGuard`."""
        words = text.texts()["door"]
        style = Markup(STYLE)  # noqa: S704 - our own file
        return self.render("access", words[f"{key}_title"], words=words[key], entered=key == "enter", style=style)

    def error(self, words: str, status: int) -> HTMLResponse:
        """A page that says what went wrong."""
        return self.show("error", text.texts()["error"]["title"], status, words=words)

    def home(self) -> Response:
        """The overview."""
        models, sent, records = self.shelf.all(), self.sent.read(), self.records.all()
        alive = self.settings.state_dir / "alive"
        return self.show(
            "home",
            text.texts()["home"]["title"],
            model=models[0].card if models else None,
            sent=sent,
            member=self._member(),
            sent_bytes=sum(s.bytes for s in sent),
            records=records,
            contact=alive.stat().st_mtime if alive.exists() else 0.0,
            connected=_fresh(alive),
        )

    def result(self, record: Record) -> Response:
        """One scored cohort."""
        shown = record.scores["embryos"]
        pictures = {name: record.pictures.get(name, Pictures()) for name in record.digests}
        title = text.fill(text.texts()["result"]["title"], cohort=clean(record.cohort))
        return self.show(
            "result",
            title,
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
    """Which embryos' intervals reach that of the first one."""
    seen = [e for e in embryos if e["rank"] and e["seen"]]
    if not seen or seen[0]["rank"] != 1:
        return []
    return [e["embryo"] or e["files"][0] for e in seen[1:] if e["seen"]["high"] >= seen[0]["seen"]["low"]]


def _said(line: Sent) -> str:
    """What was sent, in plain words."""
    t = text.texts()
    parts = t["sent"]["and"].join(t["part"][part] for part in line.holds)
    what = text.fill(t["sent"]["holding"], what=t["kind"][line.kind], parts=parts) if parts else t["kind"][line.kind]
    return text.fill(t["sent"]["item"], what=what, size=text.size(line.bytes))


def _fresh(alive: Path) -> bool:
    import time

    return alive.exists() and time.time() - alive.stat().st_mtime < 60


def create_app(pages: Pages, on_link: Any) -> AccessGuard:
    """The whole page behind its door."""
    t = text.texts()
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    door = AccessGuard(app, on_link, pages.door_page)

    @app.exception_handler(HTTPException)
    def http_error(_: Request, exc: HTTPException) -> Response:
        if exc.status_code == 404:
            return pages.error(t["error"]["not_found"], 404)
        return refused_form(None, exc)

    @app.exception_handler(FormParserError)  # Starlette lets some of the parser's errors through
    def refused_form(_: Request | None, exc: Exception) -> Response:
        words = text.fill(t["error"]["upload"], files=MOST_FILES, size=text.size(MOST_FILE_BYTES))
        return pages.error(words, getattr(exc, "status_code", 400))

    @app.exception_handler(UserError)
    def user_error(_: Request, exc: UserError) -> Response:
        return pages.error(str(exc), 400)

    @app.exception_handler(Exception)
    def own_error(_: Request, exc: Exception) -> Response:
        return pages.error(t["error"]["internal"], 500)

    @app.get("/")
    def home() -> Response:
        return pages.home()

    @app.get("/score")
    def score_form() -> Response:
        return pages.show(
            "score",
            t["score"]["title"],
            models=[m.card for m in pages.shelf.all()],
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
        record = await run_in_threadpool(pages.desk.score, uploads, cohort, run, keep=keep)
        return RedirectResponse(f"/scored/{record.id}", 303)

    @app.get("/scored")
    def scored() -> Response:
        return pages.show("records", t["records"]["title"], records=pages.records.all(), most=MOST)

    @app.get("/scored/{id_}")
    def one_scored(id_: str) -> Response:
        record = pages.desk.find(id_)
        return pages.error(t["error"]["not_found"], 404) if record is None else pages.result(record)

    @app.get("/sent")
    def sent() -> Response:
        lines = pages.sent.read()
        return pages.show(
            "sent",
            t["sent"]["title"],
            groups=by_round(lines),
            runs=by_run(lines),
            bytes=sum(s.bytes for s in lines),
            most=MOST_SENT,
        )

    @app.get("/report")
    def report() -> Response:
        state = pages.reports.state
        made = Markup(state.html)  # noqa: S704 - made by a template that escapes
        return pages.show("report", t["report"]["title"], state=state, made=made, folder=str(pages.settings.data_dir))

    @app.post("/report")
    def make_report() -> Response:
        pages.reports.begin()
        return RedirectResponse("/report", 303)

    @app.post("/leave")
    def leave(request: Request) -> Response:
        door.forget(request.cookies.get(COOKIE, ""))
        return RedirectResponse("/", 303)

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in STATIC:
            raise HTTPException(404)
        package = "embryofl_data.report" if name == "report.css" else "embryofl_clinic.app"
        path = "page.css" if name == "report.css" else f"static/{name}"
        return Response(resources.files(package).joinpath(path).read_bytes(), media_type=STATIC[name])

    return door
