"""The end of a run: the model of its last complete round as an ordinary file, with what is known of it beside it."""

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embryofl.files import atomic, write_atomic
from embryofl_server.federation.checkpoint import Checkpoint, Checkpoints
from embryofl_server.members.store import Clinic
from embryofl_server.report.calibrated import learn_calibration
from embryofl_server.report.write import write_report
from embryofl_server.runs import metric_lines
from embryofl_server.runs.log import Run
from embryofl_server.runs.view import RunView

log = logging.getLogger("embryofl.finish")


def write_model(
    run: Run, model: Checkpoint, checkpoints: Checkpoints, clinics: Mapping[str, Clinic], **more: Any
) -> dict[str, Any]:
    """Write `model.safetensors` and `model.json`, then `results.json` and the model card; returns `model.json`.

    Parameters
    ----------
    run : Run
    model : Checkpoint
    checkpoints : Checkpoints
        Of the run.
    clinics : mapping of str to Clinic
        All clinics of the hub: what they told of their data when they joined.
    **more
        What else is known: the closing evaluation by clinic and split (`evaluation`), who is missing in it, and why.
    """
    layout = model.layout()
    best = RunView(run).refresh().best_validation
    record = {
        "run": run.name,
        "round": model.round,
        "sha256": model.record["sha256"],
        "layout": layout.id,
        "parameters": layout.parameters,
        "settings": run.settings.model_dump(),
        "evaluation": {},
        "best_validation": {"round": best[0], "auroc": best[1]} if best else None,
        "use": "Research use only: not a medical device.",
        **more,
    }
    record["calibration"] = learn_calibration(record["evaluation"], run.settings)
    _copy(model.weights, run.folder / "model.safetensors")
    final = metric_lines.final_lines(record)
    write_atomic(run.folder / "model.json", json.dumps({**record, "metrics": final}, indent=1).encode())
    try:
        write_report(run, record, checkpoints.records(), clinics)
    except (ValueError, KeyError, TypeError, ArithmeticError):  # a defect of ours costs the card and not the model
        log.exception("%s: results.json and the model card cannot be written", run.name)
        run.event("card_failed", round=model.round)
    return record


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as file, atomic(target) as out:
        shutil.copyfileobj(file, out, 1 << 20)
