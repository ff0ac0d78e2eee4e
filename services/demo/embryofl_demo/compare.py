"""Federated, alone, pooled and without one clinic, on the same folders with the same budget, in this process.

The federated model is computed exactly as hub and clinics would (same seeds, same order of summing, one CPU thread), so
its weights are those of a real run with the same settings. "Alone" is one clinic's model trained for as many local
epochs, on its own patients only; "pooled" the same on the patients of all, which no federation can have. "Without
clinic-1" is federated among the others: what its patients get from it is what a clinic that does not take part gets. All
are judged on the held-out patients of every clinic, which nobody trained on.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.table import Table

from embryofl.metrics import ScoreSums
from embryofl.settings import RunSettings
from embryofl.views import Views
from embryofl_data import ClinicData, load_clinic_data
from embryofl_demo.inprocess import LoadedWorkload, alone, federated, initial, personal_scores, pooled, prepared
from embryofl_demo.intervals import Figure, Scored, figure, sampled, stack
from embryofl_server.federation.strategies import make_strategy

POOLED = "all clinics"


Scores = dict[str, dict[str, dict[int, Scored]]]
"""Model to clinic to seed to what the model says of that clinic's held-out patients."""


def compare(
    folders: dict[str, Path], cache: Path, settings: RunSettings, say: Callable[[str], None], seeds: int = 1
) -> Scores:
    """Train federated, each clinic alone, pooled, and federated without each clinic.

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
        How many, one after the other.

    Returns
    -------
    dict
        See `Scores`. Models are "federated", "clinic-1 alone", "pooled", "without clinic-1", and "own models" where the
        strategy keeps models at the clinics.
    """
    import torch

    torch.set_num_threads(1)
    data = {n: load_clinic_data(f, cache / n, settings.image_size) for n, f in sorted(folders.items())}
    data = {n: prepared(settings, d) for n, d in data.items()}
    found: Scores = {}
    for seed in range(settings.seed, settings.seed + seeds):
        if seeds > 1:
            say(f"seed {seed}")
        for model, by_clinic in _one_seed(data, settings.model_copy(update={"seed": seed}), say).items():
            for clinic, scored in by_clinic.items():
                found.setdefault(model, {}).setdefault(clinic, {})[seed] = scored
    return found


def _one_seed(
    data: dict[str, ClinicData], settings: RunSettings, say: Callable[[str], None]
) -> dict[str, dict[str, Scored]]:
    clinics = {n: LoadedWorkload(settings, d) for n, d in data.items()}
    first = initial(settings)
    made = federated(clinics, settings, first, say)
    scored = {"federated": _test(clinics, made.packed)}
    if settings.personal:
        own = personal_scores(clinics, settings, made, "test")
        scored["own models"] = {n: replace(scored["federated"][n], scores=s) for n, s in own.items()}
    together = LoadedWorkload(settings, pooled(list(data.values())))
    for name, clinic in {"pooled": together, **{f"{n} alone": c for n, c in clinics.items()}}.items():
        scored[name] = _test(clinics, alone(clinic, name.removesuffix(" alone"), settings, first))
        say(f"{name}: {settings.rounds * settings.local_epochs} epochs done")
    least = make_strategy(settings).least_clinics
    for name in clinics if len(clinics) > max(least, 2) else ():
        others = {n: c for n, c in clinics.items() if n != name}
        scored[f"without {name}"] = _test(clinics, federated(others, settings, first, lambda _: None).packed)
        say(f"without {name}: {settings.rounds} rounds done")
    return scored


def _test(clinics: dict[str, LoadedWorkload], packed: np.ndarray) -> dict[str, Scored]:
    found = {}
    for name, clinic in clinics.items():
        clinic.load(packed)
        side = clinic.data.test
        first = Views(side.embryos).first
        found[name] = Scored(clinic.scores("test"), side.labels[first], side.days[first], side.groups[first])
    return found


def samples(by_clinic: Mapping[str, Mapping[int, Scored]], clinic: str) -> np.ndarray:
    """Samples of a model's AUROC at a clinic, or at all of them (`POOLED`); see `intervals.sampled`."""
    if clinic != POOLED:
        return sampled(by_clinic[clinic], same_patients=True)
    seeds = next(iter(by_clinic.values()))
    return sampled({s: stack([c[s] for c in by_clinic.values()]) for s in seeds}, same_patients=True)


def figures(scores: Scores) -> dict[str, dict[str, Figure]]:
    """AUROC of each model, and the federated model's gain over each clinic alone ("federated - alone") and over pooled
    training ("federated - pooled"), per clinic and for all."""
    clinics = [*next(iter(scores.values())), POOLED]
    found = {m: {c: samples(by_clinic, c) for c in clinics} for m, by_clinic in scores.items()}
    told = {m: {c: figure(s) for c, s in row.items()} for m, row in found.items()}
    alone_at = {c: found[f"{c} alone"][c] for c in clinics if c != POOLED}
    told["federated - alone"] = {c: figure(found["federated"][c] - s) for c, s in alone_at.items()}
    if "own models" in found:
        told["own models - alone"] = {c: figure(found["own models"][c] - s) for c, s in alone_at.items()}
    told["federated - pooled"] = {c: figure(found["federated"][c] - found["pooled"][c]) for c in clinics}
    return told


def table(told: dict[str, dict[str, Figure]]) -> RenderableType:
    """A row a model or difference, a column a clinic and one for all together."""
    columns = list(told["federated"])
    out = Table(
        title="AUROC on held-out patients, embryos of one day against each other (95 % interval by patient)",
        title_justify="left",
        box=None,
        header_style="bold",
    )
    out.add_column("model")
    for column in columns:
        out.add_column(f"patients of {column}", justify="right")
    for model, row in told.items():
        form = "+.3f" if " - " in model else ".3f"
        out.add_row(model, *(_words(row.get(c), form) for c in columns))
    return out


def _words(f: Figure | None, form: str) -> str:
    if f is None or not np.isfinite(f.value):
        return "-"
    return f"{f.value:{form}} ({f.low:{form}} to {f.high:{form}})"


def as_json(scores: Scores, told: dict[str, dict[str, Figure]]) -> dict[str, Any]:
    """The figures with their intervals; and per model, clinic, seed and day (``all`` for all days) what sums say."""
    sums = {
        model: {clinic: {seed: _sums(s) for seed, s in by_seed.items()} for clinic, by_seed in by_clinic.items()}
        for model, by_clinic in scores.items()
    }
    return {"auroc": {m: {c: asdict(f) for c, f in row.items()} for m, row in told.items()}, "models": sums}


def _sums(s: Scored) -> dict[str, Any]:
    sums = ScoreSums.from_scores(s.scores, s.labels, s.strata)
    return {"all": sums.summary().to_dict()} | {str(day): sums.summary(day).to_dict() for day in sorted(sums.days)}
