"""Federated, alone, pooled and without one clinic, on the same folders with the same budget, in this process.

Every model comes from the hub's own round loop (`local_run`), so the federated one has the weights of a real run with the
same settings. "Alone" is one clinic's model trained for as many local epochs, on its own patients only; "pooled" the same
on the patients of all, which no federation can have. "Without clinic-1" is federated among the others: its patients then
get what a clinic that does not take part gets. All are compared on the test patients of every clinic.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import RenderableType
from rich.table import Table

from embryofl.metrics import ScoreSums
from embryofl.process import keep_freed_memory
from embryofl.settings import RunSettings
from embryofl_data.dataset import ClinicData, load_clinic_data
from embryofl_demo.intervals import Estimate, Scored, estimate, sampled, stack
from embryofl_demo.local_run import (
    LoadedWorkload,
    alone,
    initial_model,
    personal_scores,
    pooled,
    prepared,
    run_locally,
    scores_on_test_patients,
)
from embryofl_server.federation.strategies import make_strategy

POOLED = "all clinics"

Scores = dict[str, dict[str, dict[int, Scored]]]
"""Model to clinic to seed to the model's scores of that clinic's test patients."""


def compare(
    folders: dict[str, Path], cache: Path, settings: RunSettings, say: Callable[[str], None], seeds: int = 1
) -> Scores:
    """Train federated, each clinic alone, pooled, and federated without each clinic; score the test patients.

    Parameters
    ----------
    folders : dict of str to Path
        Data folder of each clinic.
    cache : Path
        For decoded images.
    settings : RunSettings
        Its seed is the first one.
    say : callable
        Takes a line of progress.
    seeds : int (default: 1)
        Number of repetitions, each with the next seed.

    Returns
    -------
    dict
        See `Scores`. Models are "federated", "clinic-1 alone", "pooled", "without clinic-1", and "personal models" if the
        strategy has them.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    data = {n: load_clinic_data(f, cache / n, settings.image_size) for n, f in sorted(folders.items())}
    data = {n: prepared(settings, d) for n, d in data.items()}
    scores: Scores = {}
    for seed in range(settings.seed, settings.seed + seeds):
        if seeds > 1:
            say(f"seed {seed}")
        for model, by_clinic in _one_seed(data, settings.model_copy(update={"seed": seed}), say).items():
            for clinic, scored in by_clinic.items():
                scores.setdefault(model, {}).setdefault(clinic, {})[seed] = scored
    return scores


def _one_seed(
    data: dict[str, ClinicData], settings: RunSettings, say: Callable[[str], None]
) -> dict[str, dict[str, Scored]]:
    clinics = {n: LoadedWorkload(settings, d) for n, d in data.items()}
    initial = initial_model(settings)
    federated = run_locally(clinics, settings, initial, lambda line: say(f"federated: {line}"))
    scored = {"federated": scores_on_test_patients(clinics, federated.packed)}
    if settings.personal:
        personal = personal_scores(clinics, settings, federated)
        scored["personal models"] = {n: replace(scored["federated"][n], scores=s) for n, s in personal.items()}
    by_themselves = {"pooled": pooled(clinics, settings), **{f"{n} alone": {n: c} for n, c in clinics.items()}}
    for model, one in by_themselves.items():
        scored[model] = scores_on_test_patients(clinics, run_locally(one, alone(settings), initial).packed)
        say(f"{model}: {settings.rounds * settings.local_epochs} epochs done")
    for name in clinics if len(clinics) > max(make_strategy(settings).min_updates, 2) else ():
        others = {n: c for n, c in clinics.items() if n != name}
        scored[f"without {name}"] = scores_on_test_patients(clinics, run_locally(others, settings, initial).packed)
        say(f"without {name}: {settings.rounds} rounds done")
    return scored


def samples(by_clinic: Mapping[str, Mapping[int, Scored]], clinic: str) -> np.ndarray:
    """Samples of a model's AUROC at a clinic, or at all of them (`POOLED`); see `intervals.sampled`."""
    if clinic != POOLED:
        return sampled(by_clinic[clinic], same_patients=True)
    seeds = next(iter(by_clinic.values()))
    return sampled({s: stack([c[s] for c in by_clinic.values()]) for s in seeds}, same_patients=True)


def aurocs(scores: Scores) -> dict[str, dict[str, Estimate]]:
    """AUROC of each model, and the federated model's gain over each clinic alone ("federated - alone") and over pooled
    training ("federated - pooled"), per clinic and for all."""
    clinics = [*next(iter(scores.values())), POOLED]
    drawn = {m: {c: samples(by_clinic, c) for c in clinics} for m, by_clinic in scores.items()}
    rows = {m: {c: estimate(s) for c, s in row.items()} for m, row in drawn.items()}
    alone_at = {c: drawn[f"{c} alone"][c] for c in clinics if c != POOLED}
    for model in ("federated", "personal models"):
        if model in drawn:
            rows[f"{model} - alone"] = {c: estimate(drawn[model][c] - s) for c, s in alone_at.items()}
    rows["federated - pooled"] = {c: estimate(drawn["federated"][c] - drawn["pooled"][c]) for c in clinics}
    return rows


def table(rows: dict[str, dict[str, Estimate]]) -> RenderableType:
    """A row a model or difference, a column a clinic and one for all together."""
    columns = list(rows["federated"])
    out = Table(
        title="AUROC on test patients, embryos of one day against each other (95 % interval by patient)",
        title_justify="left",
        box=None,
        header_style="bold",
    )
    out.add_column("model")
    for column in columns:
        out.add_column(f"patients of {column}", justify="right")
    for model, row in rows.items():
        form = "+.3f" if " - " in model else ".3f"
        out.add_row(model, *(_format(row.get(c), form) for c in columns))
    return out


def _format(f: Estimate | None, form: str) -> str:
    if f is None or not np.isfinite(f.value):
        return "-"
    return f"{f.value:{form}} ({f.low:{form}} to {f.high:{form}})"


def as_json(scores: Scores, rows: dict[str, dict[str, Estimate]]) -> dict[str, Any]:
    """AUROCs with their intervals; and the metrics per model, clinic, seed and day (``all`` for all days)."""
    sums = {
        model: {clinic: {seed: _sums(s) for seed, s in by_seed.items()} for clinic, by_seed in by_clinic.items()}
        for model, by_clinic in scores.items()
    }
    return {"auroc": {m: {c: asdict(f) for c, f in row.items()} for m, row in rows.items()}, "models": sums}


def _sums(s: Scored) -> dict[str, Any]:
    sums = ScoreSums.from_scores(s.scores, s.labels, s.strata)
    return {"all": sums.summary().to_dict()} | {str(day): sums.summary(day).to_dict() for day in sorted(sums.days)}
