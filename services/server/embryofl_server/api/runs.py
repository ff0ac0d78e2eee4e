"""The control API's part about runs: what one can be made of, what it will cost, what came of it."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path
from fastapi.responses import FileResponse
from pydantic import BaseModel

from embryofl.errors import UserError
from embryofl_server.federation.choices import offers
from embryofl_server.federation.run_settings import check_settings
from embryofl_server.hub import Hub
from embryofl_server.runs.estimate import estimate
from embryofl_server.runs.log import Run
from embryofl_server.runs.metric_lines import POOLED

_CARD = {"json": "application/json", "md": "text/markdown; charset=utf-8", "html": "text/html; charset=utf-8"}
FILES = {
    **{f"results{whose}.json": "application/json" for whose in ("", "-public")},
    **{f"model-card{whose}.{kind}": media for whose in ("", "-public") for kind, media in _CARD.items()},
    "model.json": "application/json",
    "model.safetensors": "application/octet-stream",
}
"""What of a run's folder may be had, and its kind."""
MOST_POINTS = 300

RunPath = Annotated[str, Path(pattern=r"^run-[0-9]{4,9}$")]


class RunDraft(BaseModel):
    """Settings of a run that may be started."""

    settings: dict[str, Any] = {}


def routes(hub: Hub) -> APIRouter:
    """The routes; whoever includes them sees to the token."""
    router = APIRouter(prefix="/control")

    @router.get("/offers")
    def what_there_is() -> dict[str, Any]:
        return offers()

    @router.post("/estimate")
    def cost(wanted: RunDraft) -> dict[str, Any]:
        clinics = {c.name: c.labelled for c in hub.store.clinics().values() if c.state == "enrolled"}
        settings = check_settings({"min_clinics": max(1, len(clinics)), **wanted.settings})
        return {**estimate(settings, clinics, hub.runs.all()), "settings": settings.model_dump()}

    @router.get("/runs/{run}/results")
    def results(run: RunPath) -> FileResponse:
        return _file(hub.runs.get(run), "results.json")

    @router.get("/runs/{run}/files/{name}")
    def file(run: RunPath, name: str) -> FileResponse:
        if name not in FILES:
            raise HTTPException(404, f"There is no such file of a run. Files: {', '.join(FILES)}.")
        return _file(hub.runs.get(run), name)

    @router.get("/runs/{run}/outline")
    def outline(run: RunPath) -> dict[str, Any]:
        return run_outline(hub.runs.get(run))

    return router


def _file(run: Run, name: str) -> FileResponse:
    path = run.folder / name
    if not path.is_file():
        raise UserError(
            f"{run.name} has no {name}: it is {run.state['state']}. A run has it when it is over and has had a round."
        )
    return FileResponse(path, media_type=FILES[name], filename=f"{run.name}-{name}")


def run_outline(run: Run) -> dict[str, Any]:
    """What runs are compared by: settings, state, curve ([round, AUROC, loss], pooled, validation), and final figures of
    all days, pooled and by clinic, on validation and test patients (None without results)."""
    points = [
        [x["round"], x["auroc"], x["loss"]]
        for x in run.metrics()
        if x["clinic"] == POOLED and x["split"] == "validation" and x["day"] is None
    ]
    step = max(1, -(-len(points) // MOST_POINTS))
    final = None
    if (run.folder / "results.json").exists():
        splits = json.loads((run.folder / "results.json").read_text())["splits"]
        final = {
            split: {name: _short(days["all"]) for name, days in {"pooled": s["pooled"], **s["clinics"]}.items()}
            for split, s in splits.items()
        }
    return {
        "name": run.name,
        **run.state,
        "settings": run.settings.model_dump(),
        "curve": points[::step],
        "final": final,
    }


def _short(figures: dict[str, Any]) -> dict[str, Any]:
    after = figures["after"] or figures["before"]
    return {
        "n": figures["n"],
        "auroc": figures["auroc"],
        "auprc": figures["auprc"],
        "brier": after["brier"],
        "ece": after["ece"],
    }
