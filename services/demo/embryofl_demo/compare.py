"""Federated, alone, pooled and without one clinic, on the same folders with the same budget, in this process.

The federated model is computed exactly as hub and clinics would (same seeds, same order of summing, one CPU thread), so
its weights are those of a real run with the same settings. "Alone" is one clinic's model trained for as many local
epochs, on its own patients only; "pooled" the same on the patients of all, which no federation can have. "Without
clinic-1" is federated among the others: what its patients get from it is what a clinic that does not take part gets. All
are judged on the held-out patients of every clinic, which nobody trained on.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.table import Table

from embryofl.data import load_clinic_data
from embryofl.messages import RunSettings
from embryofl.metrics import ScoreSums, merge
from embryofl_demo.inprocess import LoadedWorkload, alone, evaluate_all, federated, initial, pooled, prepared
from embryofl_server.strategies import make_strategy

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
    data = {n: load_clinic_data(f, cache / n, settings.image_size) for n, f in sorted(folders.items())}
    clinics = {n: LoadedWorkload(settings, prepared(settings, d)) for n, d in data.items()}
    first = initial(settings)
    scored = {"federated": _test(clinics, federated(clinics, settings, first, say).packed)}
    together = LoadedWorkload(settings, pooled([c.data for c in clinics.values()]))
    for name, clinic in {"pooled": together, **{f"{n} alone": c for n, c in clinics.items()}}.items():
        scored[name] = _test(clinics, alone(clinic, name.removesuffix(" alone"), settings, first))
        say(f"{name}: {settings.rounds * settings.local_epochs} epochs done")
    least = make_strategy(settings).least_clinics
    for name in clinics if len(clinics) > max(least, 2) else ():
        others = {n: c for n, c in clinics.items() if n != name}
        scored[f"without {name}"] = _test(clinics, federated(others, settings, first, lambda _: None).packed)
        say(f"without {name}: {settings.rounds} rounds done")
    return scored


def _test(clinics: dict[str, LoadedWorkload], packed: np.ndarray) -> dict[str, ScoreSums]:
    sums = evaluate_all(clinics, packed, "test")
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
