"""External validation: the model that a run of this hub ended with is evaluated once at clinics that had no part in it.

To a clinic it is the run's final evaluation: the same run, round, settings and model, on its validation and test patients,
which no run trains on. So its policy, ledgers and masks apply as they are, and a second model under the run's name is
declined. Here it is checked that the model is that of the run and that the clinics are external. While it waits and is
under way, the run's folder has `external.json`; what came of it stands in `model.json`.
"""

import json
import time
from collections.abc import Sequence
from typing import Any

from embryofl.errors import UserError
from embryofl.files import sha256_of
from embryofl.secagg.threshold import MIN_CLINICS
from embryofl_server.federation.run_settings import check_clinics
from embryofl_server.members.store import ClinicStore
from embryofl_server.runs.log import Run, Runs
from embryofl_server.runs.view import RunView

FILE = "external.json"


def pending(run: Run) -> dict[str, Any]:
    """What waits or is under way: `clinics`, `asked` (Unix time), `by`, `reason` (the run's before), and `origin`: what is
    not known of the weights that the run began from. Empty if there is nothing."""
    path = run.folder / FILE
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def note(run: Run, clinics: Sequence[str], by: str, origin: str) -> None:
    """Keep what was asked for until it is done."""
    job = {"clinics": [*clinics], "asked": time.time(), "by": by, "reason": run.state["reason"], "origin": origin}
    run.write(FILE, json.dumps(job))


def forget(run: Run) -> None:
    """It is done, or will not be."""
    (run.folder / FILE).unlink(missing_ok=True)


def check(run: Run, clinics: Sequence[str], store: ClinicStore, runs: Runs) -> str:
    """What is not known of the weights that the run began from; "" if all is.

    Raises
    ------
    UserError
        When the run has no final model, or not the one that it ended with; or when clinics cannot be asked, have had a part
        in the model, have answered before, or release nothing that there could be.
    """
    view = RunView(run).refresh()
    model, state = view.model(), view.state["state"]
    if state != "finished" or not model:
        raise UserError("R2", f"{run.name} is {state}. Expected a finished run, whose model can be validated.")
    check_model(run, model)
    if not clinics:
        raise UserError("R1", "No clinic is named. Name those that had no part in the run: --at ghent,turin")
    check_clinics(clinics, store)
    trained, origin = _trained(view, runs)
    trained = {store.current_name(name) for name in trained}
    if known := sorted(trained & {*clinics}):
        raise UserError(
            "R1",
            f"{', '.join(known)} had a part in the training of {run.name}, or of a run whose model it began from, so this "
            "would be no external validation. Name other clinics.",
        )
    before = {store.current_name(n) for one in model.get("external", []) for n in answered(one)}
    if again := sorted(before & {*clinics}):
        raise UserError(
            "R1",
            f"{', '.join(again)} have evaluated the model of {run.name} before. A clinic answers once, because two answers "
            "can tell of single embryos or clinics by their difference. Name other clinics.",
        )
    _check_releases(model, clinics, store)
    return origin


def check_model(run: Run, model: dict[str, Any]) -> None:
    """Raise `UserError` unless the run's files have the weights that its last record and `model.json` name."""
    record = json.loads((run.folder / f"round-{model['round']:04d}.json").read_text())
    found = sha256_of(run.folder / "model.safetensors")
    if {found, record["sha256"]} != {model["sha256"]}:
        digests = ", ".join(digest[:12] for digest in (found, model["sha256"], record["sha256"]))
        raise UserError(
            "R7",
            f"The model of {run.name} is not the one that the run ended with: the SHA-256 of its weights, of model.json "
            f"and of round {model['round']} are {digests}. Expected the same. Restore the run's folder from a backup.",
        )


def answered(validation: dict[str, Any]) -> set[str]:
    """The clinics whose metrics are in an external validation, on their own or in the sum."""
    return {*validation["evaluation"], *validation["pooled"].get("clinics", ())}


def _trained(view: RunView, runs: Runs) -> tuple[set[str], str]:
    """All clinics with a part in the model: of the run, and of runs from whose models it began; and what is not known of
    its beginning."""
    models: dict[str, list[RunView]] = {}
    views = [RunView(run).refresh() for run in runs.all()]
    for other in views:
        for record in other.records():
            if record["round"]:
                models.setdefault(record["sha256"], []).append(other)
    names: set[str] = set()
    origin, seen, todo = "", {view.name}, [view]
    while todo:
        one = todo.pop()
        names |= one.took_part | {*one.model().get("evaluation", {})}
        first = next(one.records(), {})
        parents = models.get(first.get("sha256", ""), [])
        if not parents and first.get("initial") != one.settings.model:
            origin = (
                f"{one.name} began from weights in a file that no run of this hub has made. Which patients these were "
                "trained on is not known here."
            )
        todo += [parent for parent in parents if parent.name not in seen]
        seen |= {parent.name for parent in parents}
    return names, origin


def _check_releases(model: dict[str, Any], clinics: Sequence[str], store: ClinicStore) -> None:
    releases = store.releases(clinics)
    silent, pooled = (sorted(n for n, r in releases.items() if r == which) for which in ("none", "pooled"))
    why = ""
    if silent:
        why = f'{", ".join(silent)} release no metrics (metrics = "none" in their policy)'
    elif 0 < len(pooled) < MIN_CLINICS:
        why = (
            f"{', '.join(pooled)} release metrics only in a sum over at least {MIN_CLINICS} such clinics (metrics = "
            '"pooled" in their policy)'
        )
    elif pooled and model["round"] != model["settings"]["rounds"]:
        why = (
            f"{', '.join(pooled)} evaluate only the model of a run's last round under masks, and this one is of round "
            f"{model['round']} of {model['settings']['rounds']}"
        )
    if why:
        raise UserError(
            "R1", f"The model cannot be validated at these clinics: {why}. Name other clinics, or ask them."
        )
