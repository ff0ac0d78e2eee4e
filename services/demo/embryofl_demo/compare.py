"""Federated, alone, pooled and without one clinic, on the same folders with the same budget, in this process.

The federated model is computed exactly as hub and clinics would (same seeds, same order of summing, one CPU thread), so
its weights are those of a real run with the same settings. "Alone" is one clinic's model trained for as many local
epochs, on its own patients only; "pooled" the same on the patients of all, which no federation can have. "Without
clinic-1" is federated among the others: what its patients get from it is what a clinic that does not take part gets. All
are judged on the held-out patients of every clinic, which nobody trained on.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.table import Table

from embryofl.data import ClinicData, pool
from embryofl.data.split import SIDES
from embryofl.files import write_atomic
from embryofl.messages import Request, RunSettings, round_seed
from embryofl.metrics import SMALLEST_COUNT, ScoreSums, merge
from embryofl.task import local_steps
from embryofl_clinic.workload import EmbryoWorkload
from embryofl_server import gate
from embryofl_server.strategies import Round, State, Update, make_strategy

POOLED = "all clinics"


def compare(
    folders: dict[str, Path], cache: Path, settings: RunSettings, say: Callable[[str], None]
) -> dict[str, dict[str, ScoreSums]]:
    """Train federated, each clinic alone, pooled, and federated without each clinic.

    Parameters
    ----------
    folders : dict of str to Path
        Data folder of each clinic.
    cache : Path
        For decoded images.
    settings : RunSettings
    say : callable
        Takes a line of progress.

    Returns
    -------
    dict
        Model ("federated", "clinic-1 alone", "pooled" or "without clinic-1") to clinic whose test patients were scored to
        sums; `POOLED` is their merge.
    """
    import torch

    torch.set_num_threads(1)
    clinics = {n: EmbryoWorkload(settings, f, cache / n, "cpu") for n, f in sorted(folders.items())}
    first = initial(settings)
    scored = {"federated": _test(clinics, federated(clinics, settings, first, say))}
    pooled = _PooledWorkload(settings, list(clinics.values()))
    for name, clinic in {"pooled": pooled, **{f"{n} alone": c for n, c in clinics.items()}}.items():
        packed = first
        for number in range(1, settings.rounds + 1):
            packed = _train(clinic, packed, settings, number, name.removesuffix(" alone"))[0]
        scored[name] = _test(clinics, packed)
        say(f"{name}: {settings.rounds * settings.local_epochs} epochs done")
    least = make_strategy(settings).least_clinics
    for name in clinics if len(clinics) > max(least, 2) else ():
        others = {n: c for n, c in clinics.items() if n != name}
        scored[f"without {name}"] = _test(clinics, federated(others, settings, first, lambda _: None))
        say(f"without {name}: {settings.rounds} rounds done")
    return scored


class _PooledWorkload(EmbryoWorkload):
    """The examples of several clinics together, which only a comparison on one machine can have."""

    def __init__(self, run: RunSettings, parts: list[EmbryoWorkload]) -> None:
        first, sides = parts[0]._data, [pool([getattr(p._data, side) for p in parts]) for side in SIDES]
        self._data = ClinicData(first.folder, first.image_size, *sides)
        self._make_model(run, "cpu", None)


def initial(settings: RunSettings) -> np.ndarray:
    """The packed model, uint8 (size,), that the hub begins a run with."""
    from embryofl import wire
    from embryofl.models import create_model

    model = create_model(settings.model, pretrained=settings.pretrained, seed=settings.seed)
    return wire.pack(model.state_dict())


def _train(
    clinic: EmbryoWorkload, packed: np.ndarray, settings: RunSettings, number: int, name: str
) -> tuple[np.ndarray, int]:
    clinic.load(packed)
    request = Request.model_construct(settings=settings, round=number)
    trained = clinic.train(request, round_seed(settings.seed, number, name))
    return trained.packed, trained.examples


def federated(
    clinics: dict[str, EmbryoWorkload], settings: RunSettings, packed: np.ndarray, say: Callable[[str], None]
) -> np.ndarray:
    """The packed model, uint8 (size,), that a federation of these clinics ends with, from the initial one."""
    layout, strategy = next(iter(clinics.values())).layout, make_strategy(settings)
    state: State = {}
    before: list[float] = []
    validation = _evaluate_all(clinics, packed, "validation")
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, settings.rounds + 1):
            sent: dict[str, Update] = {}
            for name, clinic in clinics.items():
                loss = validation[name].suppress(SMALLEST_COUNT).summary().loss
                trained, examples = _train(clinic, packed, settings, number, name)
                path = Path(folder) / name
                write_atomic(path, trained.data)
                norm, steps = gate.distance(path, layout, packed), local_steps(settings.training, examples)
                sent[name] = Update(name, path, examples, norm, steps=steps, loss=loss)
            norms = {name: u.norm for name, u in sent.items()}
            scales, _ = gate.judge_norms(norms, before, settings.norm_clip, settings.norm_bound)
            updates = [replace(sent[name], scale=scale) for name, scale in scales.items()]
            made = strategy.aggregate(Round(number, layout, packed, updates), state)
            packed, state, before = made.model, made.state, [u.norm for u in updates]
            validation = _evaluate_all(clinics, packed, "validation")
            auroc = merge(validation.values()).summary().auroc
            say(f"federated: round {number} of {settings.rounds}, validation AUROC {auroc or float('nan'):.3f}")
    return packed


def _evaluate_all(clinics: dict[str, EmbryoWorkload], packed: np.ndarray, split: str) -> dict[str, ScoreSums]:
    sums = {}
    for name, clinic in clinics.items():
        clinic.load(packed)
        sums[name] = clinic.evaluate(split)
    return sums


def _test(clinics: dict[str, EmbryoWorkload], packed: np.ndarray) -> dict[str, ScoreSums]:
    sums = _evaluate_all(clinics, packed, "test")
    return {**sums, POOLED: merge(sums.values())}


def table(scored: dict[str, dict[str, ScoreSums]]) -> RenderableType:
    """AUROC on held-out patients: a row a model, a column a clinic and one for all together."""
    columns = list(next(iter(scored.values())))
    out = Table(title="AUROC on held-out patients (all days)", title_justify="left", box=None, header_style="bold")
    out.add_column("model")
    for column in columns:
        out.add_column(f"patients of {column}", justify="right")
    for model, sums in scored.items():
        out.add_row(model, *(_interval(sums[c]) for c in columns))
    return out


def _interval(sums: ScoreSums) -> str:
    figures = sums.summary()
    if figures.auroc is None:
        return "-"
    return f"{figures.auroc:.3f} ± {1.96 * (figures.auroc_se or 0):.3f}"


def as_json(scored: dict[str, dict[str, ScoreSums]]) -> dict[str, Any]:
    """The figures, per model, clinic and day (``all`` for all days)."""
    return {
        model: {
            clinic: {
                "all": s.summary().to_dict(),
                **{str(day): s.summary(day).to_dict() for day in sorted(s.days)},
            }
            for clinic, s in sums.items()
        }
        for model, sums in scored.items()
    }
