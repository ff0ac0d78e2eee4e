"""The pages of the clinic app; `access.py` guards them."""

import contextlib
from importlib import resources
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from embryofl import result_charts
from embryofl.errors import UserError
from embryofl.pooled_metrics import GROUP
from embryofl.texts import size
from embryofl_clinic.app.access import RULES, Links, add_access
from embryofl_clinic.app.records import MOST, RecordImage, Records
from embryofl_clinic.app.reporting import ReportService
from embryofl_clinic.app.scoring_service import MOST_FILE_BYTES, MOST_FILES, ScoringService, Upload
from embryofl_clinic.joining.commands import last_contact
from embryofl_clinic.joining.identity import joined_hub
from embryofl_clinic.policy.editing import RULES as POLICY_RULES
from embryofl_clinic.policy.editing import changes, choices, digest_of, plain_meaning, read_fields, save, typed
from embryofl_clinic.policy.questions import Questions
from embryofl_clinic.policy.rules import Rules, last_block, load_rules
from embryofl_clinic.policy.sent import MOST as MOST_SENT
from embryofl_clinic.policy.sent import Sent, SentLog, by_round, by_run
from embryofl_clinic.scoring.calibration import FEW
from embryofl_clinic.scoring.model_store import ModelStore
from embryofl_clinic.settings import ClinicSettings
from embryofl_clinic.texts import texts
from embryofl_clinic.workload.own_results import OwnResults, OwnResultsFile
from embryofl_data.report.page import clean
from embryofl_web.guard import Guard
from embryofl_web.site import Site

FILES = {name: resources.files("embryofl_clinic.app") / "static" / name for name in ("app.css", "app.js")}
FILES["report.css"] = resources.files("embryofl_data.report") / "page.css"
PATHS = {
    "home": "/",
    "score": "/score",
    "records": "/scored",
    "sent": "/sent",
    "report": "/report",
    "policy": "/policy",
}
NAMES = 80
"""Characters of a cohort's name."""


class Pages:
    """Templates, and the services whose state they show.

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
        self.site = Site("embryofl_clinic.app", "M4", _SHARED)
        self.site.templates.filters.update(clean=clean, describe=_describe, pair=lambda value: (value, value))
        self.site.templates.globals.update(meaning=plain_meaning, choices=choices, defaults=_typed(Rules()))
        self.show = self.site.show


def _typed(rules: Rules) -> dict[str, str]:
    return {name: typed(getattr(rules, name)) for name in POLICY_RULES}


def _describe(line: Sent) -> str:
    """What was sent, in words."""
    kind, parts = texts.kind[line.kind], "; ".join(texts.part[part] for part in line.holds)
    what = texts.sent.holding.format(what=kind, parts=parts) if parts else kind
    return str(texts.sent.item.format(what=what, size=size(line.bytes)))


_SHARED = {
    "t": texts,
    "app": {
        "name": texts.product,
        "brand": texts.brand,
        "pages": [(name, path, texts.nav[name]) for name, path in PATHS.items()],
        "leave": ("/leave", texts.leave),
        "research": texts.research,
        "foot": texts.local,
        "here": "",
    },
}


def create_app(pages: Pages, links: Links) -> Guard:
    """The whole app behind its guard."""
    app = pages.site.application(texts.error.upload.format(files=MOST_FILES, size=size(MOST_FILE_BYTES)), FILES)

    def refuse(key: str, _: Request) -> Response:
        own = {"locked": texts.access.locked, "too_large": texts.access.too_large}
        return pages.site.refusal(key, own.get(key, ""))

    guard = Guard(app, links.sessions, RULES, refuse)
    app.state.pages = pages
    add_access(app, links, guard, pages.site)
    app.include_router(router)
    return guard


router = APIRouter()


def _pages(request: Request) -> Pages:
    pages: Pages = request.app.state.pages
    return pages


ThePages = Annotated[Pages, Depends(_pages)]


@router.get("/")
def home(pages: ThePages) -> Response:
    """The overview."""
    own, asked = pages.own_results.read(), []
    with contextlib.suppress(UserError):  # damaged: the trainer reports it
        asked = Questions(pages.settings.state_dir).read()
    models, sent, records = pages.models.all(), pages.sent.read(), pages.records.all()
    contact, connected = last_contact(pages.settings.state_dir)
    hub = None
    with contextlib.suppress(UserError):  # damaged: the trainer reports it
        hub = joined_hub(pages.settings.identity_dir)
    return pages.show(
        "home",
        model=models[0].card if models else None,
        own_results=own,
        answered=asked[-1] if asked else None,
        needed=GROUP,
        blocked=last_block(pages.settings.state_dir),
        curves=Markup(curves_of(own)),  # noqa: S704 - its texts are escaped
        sent=sent,
        hub=hub,
        sent_bytes=sum(s.bytes for s in sent),
        records=records,
        contact=contact,
        connected=connected,
    )


def curves_of(own: OwnResults) -> str:
    """AUROC and loss over the rounds of the newest run, as HTML; "" before there are two."""

    def course(key: str) -> list[tuple[float, float]]:
        values = [(number, getattr(metrics, key)) for number, metrics in own.rounds.items()]
        return [(number, value) for number, value in values if value is not None]

    return "".join(result_charts.by_round(key, {texts.own.this_clinic: course(key)}) for key in ("auroc", "loss"))


@router.get("/score")
def score_form(pages: ThePages) -> Response:
    """The form for a cohort."""
    one = texts.score.one_model
    cards = [m.card for m in pages.models.all()]
    models = [
        (c.run, one.format(run=c.run, model=c.settings.model, predicts=texts.predicts[c.settings.meaning]))
        for c in cards
    ]
    limits: dict[str, Any] = {"most_files": MOST_FILES, "most_bytes": MOST_FILE_BYTES, "names": NAMES}
    return pages.show("score", models=models, **limits)


@router.post("/score")
async def score(request: Request, pages: ThePages) -> Response:
    """Score a cohort."""
    async with request.form(max_files=MOST_FILES + 1, max_fields=8) as form:
        files = [f for f in form.getlist("images") if isinstance(f, UploadFile) and f.filename]
        uploads = [Upload(f.filename or "", await f.read(MOST_FILE_BYTES + 1)) for f in files]
        cohort, run = (str(form.get(key) or "").strip()[:NAMES] for key in ("cohort", "run"))
        keep = form.get("keep") == "yes"
    record = await run_in_threadpool(pages.scoring.score, uploads, cohort, run, keep=keep)
    return RedirectResponse(f"/scored/{record.id}", 303)


@router.get("/scored")
def scored(pages: ThePages) -> Response:
    """The scoring history."""
    return pages.show("records", records=pages.records.all(), most=MOST)


@router.get("/scored/{id_}")
def result(id_: str, pages: ThePages) -> Response:
    """One scored cohort."""
    record = pages.scoring.find(id_)
    if record is None:
        raise HTTPException(404)
    embryos = record.scores["embryos"]
    return pages.show(
        "result",
        clean(record.cohort),
        record=record,
        scores=record.scores,
        images={name: record.images.get(name, RecordImage()) for name in record.digests},
        few=FEW,
        calibrated=any(e["calibrated"] is not None for e in embryos),
        overlapping=_overlapping(embryos),
    )


def _overlapping(embryos: list[dict[str, Any]]) -> list[str]:
    """The embryos whose intervals overlap that of the first one."""
    seen = [e for e in embryos if e["rank"] and e["seen"]]
    if not seen or seen[0]["rank"] != 1:
        return []
    return [e["embryo"] or e["files"][0] for e in seen[1:] if e["seen"]["high"] >= seen[0]["seen"]["low"]]


@router.get("/sent")
def sent(pages: ThePages) -> Response:
    """What was sent to the hub."""
    lines = pages.sent.read()
    total = sum(line.bytes for line in lines)
    return pages.show("sent", groups=by_round(lines), runs=by_run(lines), bytes=total, most=MOST_SENT)


@router.get("/report")
def report(pages: ThePages) -> Response:
    """The data report, or the progress of making it."""
    state = pages.reports.state
    made = Markup(state.html)  # noqa: S704 - made by a template that escapes
    return pages.show("report", state=state, made=made, folder=str(pages.settings.data_dir))


@router.post("/report")
def make_report(pages: ThePages) -> Response:
    """Check the data folder in the background."""
    pages.reports.begin()
    return RedirectResponse("/report", 303)


@router.get("/policy")
def policy(pages: ThePages, saved: bool = False) -> Response:
    """The clinic's rules, to read and to change; where the file cannot be used, why."""
    try:
        rules, error = load_rules(pages.settings.state_dir), ""
    except UserError as exc:
        rules, error = None, str(exc)
    fields = _typed(rules) if rules else {}
    return _policy(pages, fields, error=error, saved=saved)


def _policy(pages: Pages, fields: dict[str, str], status: int = 200, **values: Any) -> Response:
    values = {"review": [], "error": "", "saved": False, "seen": digest_of(pages.settings.state_dir), **values}
    return pages.show("policy", status=status, fields=fields, **values)


@router.post("/policy")
async def change_policy(request: Request, pages: ThePages) -> Response:
    """Say what a change allows or forbids; with `save`, make it."""
    async with request.form(max_files=0, max_fields=len(POLICY_RULES) + 8) as form:
        given = {name: str(value) for name, value in form.items()}
    confirmed, seen = given.pop("save", ""), given.pop("seen", "")
    state = pages.settings.state_dir
    try:
        rules = read_fields(given)
        if confirmed:
            save(state, rules, seen)
            return RedirectResponse("/policy?saved=true", 303)
        sentences = changes(load_rules(state), rules)
    except UserError as exc:
        fields = {name: given.get(name, "") for name in POLICY_RULES}
        return _policy(pages, fields, 400, error=str(exc), seen=seen)
    if not sentences:
        return _policy(pages, _typed(rules), error=texts.policy.nothing)
    return _policy(pages, _typed(rules), review=sentences, seen=seen)
