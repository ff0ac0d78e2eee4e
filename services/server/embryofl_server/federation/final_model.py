"""The end of a run: its final model as an ordinary file, with its settings, metrics and card next to it."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from embryofl.files import write_atomic
from embryofl_server.federation.checkpoint import Checkpoint
from embryofl_server.members.store import Clinic
from embryofl_server.report.decision import learn_calibration
from embryofl_server.report.write import write_report
from embryofl_server.runs import metric_lines
from embryofl_server.runs.evaluation import released_sums
from embryofl_server.runs.log import Run
from embryofl_server.runs.view import RunView

log = logging.getLogger("embryofl.finish")


def write_model(run: Run, model: Checkpoint, clinics: Mapping[str, Clinic], **more: Any) -> dict[str, Any]:
    """Write `model.safetensors` and `model.json`, then `results.json` and the model card; returns `model.json`.

    Parameters
    ----------
    run : Run
    model : Checkpoint
    clinics : mapping of str to Clinic
        All clinics of the hub, with what they reported about their data on joining.
    **more
        More of `model.json`: the final evaluation by clinic and split (`evaluation`), who is missing in it, and why.
    """
    layout, view = model.layout(), RunView(run).refresh()
    best = view.best_validation
    record = {
        "run": run.name,
        "round": model.round,
        "sha256": model.record["sha256"],
        "layout": layout.id,
        "parameters": layout.parameters,
        "settings": run.settings.model_dump(),
        "releases": {name: clinics[name].metrics for name in sorted(view.took_part) if name in clinics},
        "evaluation": {},
        "pooled": {},
        "spent": [],
        "best_validation": {"round": best[0], "auroc": best[1]} if best else None,
        "use": "Research use only: not a medical device.",
        **more,
    }
    record["calibration"] = learn_calibration(released_sums(record, "validation"), run.settings)
    write_atomic(run.folder / "model.safetensors", model.packed().data)
    final = metric_lines.final_lines(record)
    write_atomic(run.folder / "model.json", json.dumps({**record, "metrics": final}, indent=1).encode())
    _write_report(run, record, clinics)
    return record


def add_validation(run: Run, found: dict[str, Any], clinics: Mapping[str, Clinic]) -> None:
    """Add an external validation to `model.json`, and write `results.json` and the model card anew."""
    record = RunView(run).model()
    record["external"] = [*record.get("external", []), found]
    write_atomic(run.folder / "model.json", json.dumps(record, indent=1).encode())
    _write_report(run, record, clinics)


def _write_report(run: Run, record: dict[str, Any], clinics: Mapping[str, Clinic]) -> None:
    try:
        write_report(run, record, list(RunView(run).refresh().records()), clinics)
    except (ValueError, KeyError, TypeError, ArithmeticError):  # an internal error costs the card, not the model
        log.exception("%s: results.json and the model card cannot be written", run.name)
        run.event("card_failed", round=record["round"])
