"""Whether something other than the picture explains the score: the day of culture, or the clinic.

Embryos of day 3 and of day 5, or of two clinics, differ in how many are good. A model that only tells the day has an AUROC
above 0.5 over all days, and of 0.5 within each.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from embryofl.metrics import DaySums, ScoreSums, merge
from embryofl.metrics.figures import auroc

MARGIN = 0.05
"""So much AUROC over all above that within each day (or clinic) is worth a warning."""


def shortcuts(by_clinic: dict[str, ScoreSums]) -> dict[str, dict[str, float | None]]:
    """For "day" and "clinic": AUROC over `all`, mean AUROC `within` each, and that of knowing nothing but it (`alone`).

    All three over the same embryos. `within` weighs each by its pairs of a good and a bad embryo.
    """
    together = merge(by_clinic[name] for name in sorted(by_clinic))
    everything = together.pooled()
    return {
        "day": _compare(everything, together.days.values()),
        "clinic": _compare(everything, [by_clinic[name].pooled() for name in sorted(by_clinic)]),
    }


def _compare(everything: DaySums, parts: Iterable[DaySums]) -> dict[str, float | None]:
    found = [part for part in parts if part.counts.sum()]
    if len(found) < 2:
        return {"all": None, "within": None, "alone": None}
    pairs = np.array([float(part.counts.prod()) for part in found])
    areas = [part.auroc()[0] for part in found]
    within = (
        sum(p * a for p, a in zip(pairs, areas, strict=True) if a is not None) / pairs.sum() if pairs.sum() else None
    )
    counts = np.stack([part.counts for part in found], axis=1)  # (2, parts)
    by_prevalence = counts[:, np.argsort(counts[1] / counts.sum(axis=0), kind="stable")]
    return {"all": everything.auroc()[0], "within": within, "alone": auroc(by_prevalence)[0]}


def explained(found: dict[str, float | None]) -> bool:
    """Whether the shortcut makes the figure over all look better than what is within."""
    return found["all"] is not None and found["within"] is not None and found["all"] - found["within"] > MARGIN


def words(kind: str, found: dict[str, Any]) -> str:
    """The three figures in a sentence."""
    each = {"day": "each day of culture", "clinic": "each clinic"}[kind]
    return (
        f"AUROC is {found['all']:.2f} over all {kind}s together, but {found['within']:.2f} within {each}; knowing nothing "
        f"but the {kind} gives {found['alone']:.2f}."
    )
