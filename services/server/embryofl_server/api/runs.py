"""The control API's part about runs: the status, starting and steering them, what one can be made of and will cost, and
what came of it. For people by their roles."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Path
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from embryofl.errors import UserError
from embryofl.schema import Name
from embryofl.settings import RunSettings
from embryofl_server.api import second_person
from embryofl_server.api.deps import By, CurrentCaller, CurrentHub
from embryofl_server.api.status import run_info
from embryofl_server.api.status import status as status_of
from embryofl_server.federation.choices import offers
from embryofl_server.federation.run_settings import check_run
from embryofl_server.hub import Hub
from embryofl_server.runs.estimate import estimate
from embryofl_server.runs.log import Run
from embryofl_server.runs.metrics_seen import describe_asking, metrics_seen
from embryofl_server.runs.updates_seen import updates_seen

_CARD = {"json": "application/json", "md": "text/markdown; charset=utf-8", "html": "text/html; charset=utf-8"}
FILES = {
    **{f"results{whose}.json": "application/json" for whose in ("", "-public")},
    **{f"model-card{whose}.{kind}": media for whose in ("", "-public") for kind, media in _CARD.items()},
    "model.json": "application/json",
    "model.safetensors": "application/octet-stream",
}
"""Files of a run's folder that can be downloaded, and their media types."""
router = APIRouter()

RunPath = Annotated[str, Path(pattern=r"^run-[0-9]{4,9}$")]


class RunDraft(BaseModel):
    """Settings of a run that may be started; what is left out takes its default."""

    settings: dict[str, Any] = {}


class StartRun(RunDraft):
    """A run to start, the file of its initial weights ("": made anew), and a note about it."""

    initial: str = ""
    note: str = Field("", max_length=500)


class Validation(BaseModel):
    """A finished run, and the clinics at which its model is to be validated."""

    run: str
    clinics: list[Name]


class Note(BaseModel):
    """What the coordinator notes about a run; "" for nothing."""

    note: str = Field(max_length=500)


class RunName(BaseModel):
    """A run; "" means the one that people mean without saying."""

    run: str = ""


@router.get("/status")
def status(hub: CurrentHub, metrics: Literal["all", "newest"] = "all") -> dict[str, Any]:
    return status_of(hub, hub.overview.now(), newest=metrics == "newest")


@router.get("/runs")
def all_runs(hub: CurrentHub) -> list[dict[str, Any]]:
    return [run_info(run) for run in hub.views.all()]


@router.post("/runs")
def start(request: StartRun, hub: CurrentHub, by: By, who: CurrentCaller) -> dict[str, Any]:
    second_person.require_for_run(hub, who, request.settings, request.initial)
    run = hub.conductor.queue(request.settings, request.initial, by)
    if request.note:
        hub.views.get(run.name).write_note(request.note)
    return {**_info(hub, run), "metrics_seen": _metrics_seen(hub, run.settings)}


@router.post("/validate")
def validate(request: Validation, hub: CurrentHub, by: By) -> dict[str, Any]:
    return _info(hub, hub.conductor.validate(request.run, request.clinics, by))


@router.post("/stop")
def stop(hub: CurrentHub, by: By, request: RunName | None = None) -> dict[str, Any]:
    return _info(hub, hub.conductor.stop(request.run if request else "", by))


@router.post("/pause")
def pause(hub: CurrentHub, by: By, request: RunName | None = None) -> dict[str, Any]:
    return _info(hub, hub.conductor.pause(request.run if request else "", by))


@router.post("/continue")
def resume(hub: CurrentHub, by: By, request: RunName | None = None) -> dict[str, Any]:
    return _info(hub, hub.conductor.resume(request.run if request else "", by))


@router.get("/offers")
def choices() -> dict[str, Any]:
    return offers()


@router.post("/estimate")
def cost(draft: RunDraft, hub: CurrentHub) -> dict[str, Any]:
    settings = check_run(draft.settings, hub.store)
    members = hub.store.clinics().values()
    clinics = {c.name: c.labelled for c in members if c.state == "enrolled" and settings.takes(c.name)}
    shown = settings.model_dump()
    seen = {"updates": updates_seen(shown), "metrics_seen": _metrics_seen(hub, settings)}
    return {**estimate(settings, clinics, hub.views.all()), "settings": shown, **seen}


@router.get("/runs/{run}/results")
def results(run: RunPath, hub: CurrentHub) -> FileResponse:
    return _file(hub.runs.get(run), "results.json")


@router.get("/runs/{run}/files/{name}")
def file(run: RunPath, name: str, hub: CurrentHub) -> FileResponse:
    """One of `FILES`."""
    if name not in FILES:
        raise HTTPException(404, f"There is no such file of a run. Files: {', '.join(FILES)}.")
    return _file(hub.runs.get(run), name)


@router.get("/runs/{run}/outline")
def outline(run: RunPath, hub: CurrentHub) -> dict[str, Any]:
    return hub.views.get(run).outline()


@router.post("/runs/{run}/audit")
def audit(run: RunPath, hub: CurrentHub, by: By) -> dict[str, Any]:
    hub.conductor.audit(run, by)
    return _audit(hub, run)


@router.get("/runs/{run}/audit")
def audited(run: RunPath, hub: CurrentHub) -> dict[str, Any]:
    return _audit(hub, run)


@router.post("/runs/{run}/note")
def note(run: RunPath, given: Note, hub: CurrentHub) -> dict[str, str]:
    hub.views.get(run).write_note(given.note)
    return {"note": given.note}


def _metrics_seen(hub: Hub, settings: RunSettings) -> str:
    """What the hub will see of metrics, and what more of it costs."""
    seen = metrics_seen(hub.store.releases(settings.clinics), pooled_every=settings.pooled_every)
    return f"{seen} {describe_asking(settings)}".rstrip()


def _info(hub: Hub, run: Run) -> dict[str, Any]:
    return run_info(hub.views.get(run.name))


def _audit(hub: Hub, run: str) -> dict[str, Any]:
    """Of a run's audit: whether it is under way, why it has ended early, and the newest result."""
    return {**hub.conductor.audit_state(run), "audit": hub.views.get(run).results().get("audit")}


def _file(run: Run, name: str) -> FileResponse:
    path = run.folder / name
    if not path.is_file():
        raise UserError(
            "R2",
            f"{run.name} has no {name}: it is {run.state['state']}. A run has it once it is over and has had a round.",
        )
    return FileResponse(path, media_type=FILES[name], filename=f"{run.name}-{name}")
