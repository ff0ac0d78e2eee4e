"""Metrics that leave a clinic only under masks: histograms as whole numbers that can be summed with those of other clinics.

The hub learns one sum over at least three clinics, once a run and split, or more often on validation patients where the run
has `pooled_every`; of each day that at least three of them fill, also if as many drop out as may. No exact loss is in it,
no ranking and no bin with fewer than `GROUP` of a clinic's embryos: to a hub that chooses the model, any of these tells of
single embryos. What these bins tell was measured: the label of a chosen embryo in 0.54 of cases, where 0.5 is chance, asked
once. The difference of two answers, about models that differ for one embryo alone, is that embryo: in 15 of 16 cases. There
is no theorem behind it: an exact function that depends on one embryo tells of it to somebody who knows all others.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from embryofl.metrics import BINS, CENTRES, DaySums, FloatArray, IntArray, ScoreSums
from embryofl.metrics.grouping import blur
from embryofl.metrics.sums import MAX_DAY
from embryofl.privacy.membership import Audited
from embryofl.secagg.fixed_point import RING, Ring

Split = Literal["validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

AUDITED_AS: Mapping[Audited, tuple[Split, int]] = {
    "loss": ("validation", 0),
    "rmia": ("test", 0),
    "canaries": ("validation", 1),
}
"""The vector of an audit has an attack's scores in place of those of a split and day: of patients, label 1 where they were
trained on; and guesses of canaries, in one bin, label 1 where they are right."""

GROUP = 15
"""No bin has fewer embryos of one clinic, both labels together."""
AUDIT_GROUP = 30
"""The same of patients in an audit, of which a chosen one moves from the lowest bin to the highest with its label."""
WEIGHT = 1
"""Of each clinic in the sum: counts are added as they are."""
BOUND = 1.0
"""In place of an update's bound in the terms: counts are not clipped."""

LIMIT = "max_evaluations"
"""The policy's rule for how many evaluations a clinic answers. Where it declines because of it, it names it."""

_DAY = 2 * BINS + 2  # counts of label 0, of label 1, blur, and whether the day is withheld
LENGTH = len(SPLITS) * (MAX_DAY + 1) * _DAY


def to_vector(scored: Mapping[str, ScoreSums], min_cell: int, least: int = GROUP) -> Ring:
    """What a clinic puts under its mask: uint32 (LENGTH,).

    Parameters
    ----------
    scored : mapping of str to ScoreSums
        As they are, by split; on the way of a run without those of test patients.
    min_cell : int
        The policy's; bins have at least as many embryos, and a day with fewer of a label is withheld.
    least : int
        `GROUP` or `AUDIT_GROUP`.
    """
    vector = np.zeros((len(SPLITS), MAX_DAY + 1, _DAY), RING)
    group = max(least, min_cell)
    for number, split in enumerate(SPLITS):
        for day, sums in scored.get(split, ScoreSums()).suppress(min_cell, group).days.items():
            if sums.withheld or 0 < sums.counts.sum() < group:
                vector[number, day, -1] = 1
            else:
                vector[number, day, :-2] = sums.histogram.reshape(-1)
                vector[number, day, -2] = blur(sums.histogram)
    return vector.reshape(-1)


def filled_cells(counts: Mapping[str, ScoreSums], min_cell: int, least: int = GROUP) -> int:
    """In which cells, one for each split and day, a clinic's vector has embryos: a bit mask for its advert.

    Parameters
    ----------
    counts : mapping of str to ScoreSums
        The embryos of the same splits with any scores: only their labels and days count.
    min_cell, least : int
        As in `to_vector`.
    """
    rows = to_vector(counts, min_cell, least).reshape(-1, _DAY)
    return sum(1 << cell for cell, row in enumerate(rows) if row[:-2].any())


def withhold_cells(vector: Ring, filled: Sequence[int], needed: int) -> Ring:
    """A clinic's vector without the cells that too few clinics fill: their sum would be that of these few.

    Parameters
    ----------
    vector : ndarray of uint32, (LENGTH,)
    filled : sequence of int
        `filled_cells` of each clinic of the roster.
    needed : int
        A cell that fewer of them fill is withheld.

    Returns
    -------
    ndarray of uint32, (LENGTH,)
    """
    rows = vector.reshape(-1, _DAY).copy()
    for cell, row in enumerate(rows):
        if row.any() and sum(mask >> cell & 1 for mask in filled) < needed:
            row[:-1], row[-1] = 0, 1
    return rows.reshape(-1)


def from_vector(total: Ring) -> dict[Split, ScoreSums]:
    """The pooled sums, from the sum of vectors. Losses are those of the bins' middles: exact ones are not released."""
    vector = total.reshape(len(SPLITS), MAX_DAY + 1, _DAY).astype(np.int64)
    return {
        split: ScoreSums({day: _day(row) for day, row in enumerate(vector[number]) if row.any()})
        for number, split in enumerate(SPLITS)
    }


def by_attack(sums: Mapping[Split, ScoreSums]) -> dict[Audited, ScoreSums]:
    """What an audit counts, by attack, from its pooled sums by split; without attacks of which nothing was counted."""
    found = {name: (sums.get(split, ScoreSums()), day) for name, (split, day) in AUDITED_AS.items()}
    return {name: ScoreSums({day: one.days[day]}) for name, (one, day) in found.items() if day in one.days}


def _day(row: IntArray) -> DaySums:
    histogram = row[:-2].reshape(2, BINS)
    hit = np.stack([1 - CENTRES, CENTRES])
    return DaySums(
        histogram, _sum(histogram, -np.log(hit)), _sum(histogram, (1 - hit) ** 2), int(row[-1]), blur=int(row[-2])
    )


def _sum(histogram: IntArray, each: FloatArray) -> FloatArray:
    return np.asarray((histogram * each).sum(axis=1), np.float64)
