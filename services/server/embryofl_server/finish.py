"""The end of a run: the model of its last complete round as an ordinary file, with what is known of it beside it."""

import json
import shutil
from pathlib import Path
from typing import Any

from embryofl.files import atomic, write_atomic
from embryofl_server import results
from embryofl_server.checkpoint import Checkpoint
from embryofl_server.runs import Run


def write_model(run: Run, model: Checkpoint, **more: Any) -> dict[str, Any]:
    """Write `model.safetensors` and `model.json`; returns the latter.

    Parameters
    ----------
    run : Run
    model : Checkpoint
    **more
        What else is known: the closing evaluation by clinic and split (`evaluation`), who is missing in it, and why.
    """
    layout = model.layout()
    best = results.best_round(run.metrics())
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
    _copy(model.weights, run.folder / "model.safetensors")
    final = results.final_lines(record)
    write_atomic(run.folder / "model.json", json.dumps({**record, "metrics": final}, indent=1).encode())
    return record


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as file, atomic(target) as out:
        shutil.copyfileobj(file, out, 1 << 20)
