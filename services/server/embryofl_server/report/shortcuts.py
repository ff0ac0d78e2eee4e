"""Whether something other than the image explains the score: the day, or the clinic.

Embryos of day 3 and day 5, or of two clinics, differ in the share with label 1. A model that only recognises the day has an
AUROC above 0.5 over all days, and of 0.5 within each.
"""

from collections.abc import Iterable

import numpy as np

from embryofl.metrics import DaySums, ScoreSums, merge
from embryofl.metrics.from_histogram import auroc
from embryofl_server.runs.evaluation import TOGETHER

MARGIN = 0.05
"""How far the AUROC over all may exceed that within each day (or clinic) without a warning."""


def shortcuts(by_clinic: dict[str, ScoreSums]) -> dict[str, dict[str, float | None]]:
    """For "day" and "clinic": AUROC over `all`, mean AUROC `within` each, and AUROC of knowing only it (`alone`).

    All three over the same embryos. `within` weights each by its pairs of embryos with label 1 and label 0.
    For "clinic" only those count that release their own.
    """
    own = {name: by_clinic[name] for name in sorted(by_clinic) if name != TOGETHER}
    every, of_own = (merge(sums[name] for name in sorted(sums)) for sums in (by_clinic, own))
    return {
        "day": _compare(every.pooled(), every.days.values()),
        "clinic": _compare(of_own.pooled(), [sums.pooled() for sums in own.values()]),
    }


def _compare(everything: DaySums, parts: Iterable[DaySums]) -> dict[str, float | None]:
    parts = [part for part in parts if part.counts.sum()]
    if len(parts) < 2:
        return {"all": None, "within": None, "alone": None}
    pairs = np.array([float(part.counts.prod()) for part in parts])
    areas = [auroc(part.histogram)[0] for part in parts]
    within = (
        sum(p * a for p, a in zip(pairs, areas, strict=True) if a is not None) / pairs.sum() if pairs.sum() else None
    )
    counts = np.stack([part.counts for part in parts], axis=1)  # (2, parts)
    by_prevalence = counts[:, np.argsort(counts[1] / counts.sum(axis=0), kind="stable")]
    return {"all": auroc(everything.histogram)[0], "within": within, "alone": auroc(by_prevalence)[0]}


def explained(areas: dict[str, float | None]) -> bool:
    """Whether the shortcut makes the AUROC over all look better than the AUROC within."""
    return areas["all"] is not None and areas["within"] is not None and areas["all"] - areas["within"] > MARGIN
