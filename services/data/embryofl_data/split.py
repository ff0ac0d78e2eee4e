"""Split by patient, stratified by label and day.

Patients (else embryos, else images) are units. They are taken in an order that depends on the seed and their own names
only, large cohorts first, and each goes to the split whose shares by (label, day) it improves most. The cost is the
chi-square distance between the counts of a split and its targets. This is the greedy assignment of scikit-learn's
`StratifiedGroupKFold` with splits of unequal size.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from embryofl.errors import DataError
from embryofl.metrics import SMALLEST_COUNT
from embryofl_data.reading.contract import EmbryoImage

SHARES = {"train": 1 - 0.20 - 0.20, "validation": 0.20, "test": 0.20}
"""Shares of the labelled images. Test patients get more of a class and day where they would be too few to report."""
SPLITS = tuple(SHARES)
T = TypeVar("T", bound=Any)


@dataclass(frozen=True)
class Unit:
    """Images that must stay together: ascending indices `members`; `key` is the first of their groups by name."""

    key: str
    members: tuple[int, ...]


def split_by_patient(
    images: Sequence[EmbryoImage], seed: int = 0, links: Sequence[str] | None = None
) -> dict[str, list[int]]:
    """Split labelled images into train, validation and test so that no patient is in two splits.

    Parameters
    ----------
    images : sequence of EmbryoImage
        Labelled and unlabelled ones, in any order: the splits do not depend on it.
    seed : int (default: 0)
        The same seed gives the same split.
    links : sequence of str, optional
        One key per image, such as the SHA-256 of its content. Groups that share a key other than "" stay together.

    Returns
    -------
    dict of str to list of int
        `train`, `validation` and `test` to ascending indices of labelled images. Both classes are in every split
        wherever the groups allow it.

    Raises
    ------
    DataError
        When there are fewer groups with labelled images than splits.
    """
    labelled = [index for index, image in enumerate(images) if image.label is not None]
    units = [
        Unit(unit.key, members)
        for unit in join_groups(images, links)
        if (members := tuple(index for index in unit.members if images[index].label is not None))
    ]
    if len(units) < len(SPLITS):
        raise DataError(
            "D4",
            f"The {len(labelled)} labelled images belong to {len(units)} patient(s). Expected at least {len(SPLITS)}, one "
            f"each for {', '.join(SPLITS)}: a patient's embryos all stay in one split. Add patients; if there are more, "
            "check the columns patient and embryo of labels.csv.",
        )
    splits = assign(units, [stratum(image) for image in images], SHARES, seed)
    return {split: sorted(index for unit in splits[split] for index in unit.members) for split in SPLITS}


class Groups(Generic[T]):
    """Things joined into groups, pair by pair."""

    def __init__(self, pairs: Iterable[tuple[T, T]] = ()) -> None:
        self._groups: dict[T, set[T]] = {}
        for first, second in pairs:
            self.join(first, second)

    def join(self, first: T, second: T) -> None:
        """Put two things, and all that are joined to them, into one group."""
        smaller, larger = sorted((self.of(first), self.of(second)), key=len)
        if smaller is not larger:
            larger |= smaller
            self._groups.update(dict.fromkeys(smaller, larger))

    def of(self, thing: T) -> set[T]:
        """The group of a thing: itself and all that are joined to it."""
        return self._groups.setdefault(thing, {thing})

    def members(self) -> list[tuple[T, ...]]:
        """Groups of two and more, ascending."""
        return sorted({tuple(sorted(group)) for group in self._groups.values() if len(group) > 1})


def join_groups(images: Sequence[EmbryoImage], links: Sequence[str] | None = None) -> list[Unit]:
    """Join images into units by group and, transitively, by link; ordered by key."""
    pairs = zip(images, links, strict=True) if links else ()
    groups = Groups(("group " + image.group, "link " + link) for image, link in pairs if link)
    members: dict[int, list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        members[id(groups.of("group " + image.group))].append(index)
    units = [Unit(min(images[index].group for index in joined), tuple(joined)) for joined in members.values()]
    return sorted(units, key=lambda unit: unit.key)


def assign(
    units: Sequence[Unit], strata: Sequence[tuple[int, int]], shares: Mapping[str, float], seed: int
) -> dict[str, list[Unit]]:
    """Assign units to splits so that each split's counts by stratum come near its share.

    Parameters
    ----------
    units : sequence of Unit
        At least as many as splits.
    strata : sequence of (label, day)
        One per image; label -1 is unlabelled, day -1 unknown.
    shares : mapping of str to float
        Splits to shares, which add up to 1. When both classes cannot be in every split, earlier splits get them first.
    seed : int
        Decides the order of units of like size.

    Returns
    -------
    dict of str to list of Unit
        Every split of `shares`; none is empty.
    """
    columns = {stratum: column for column, stratum in enumerate(sorted(set(strata)))}
    sizes = np.zeros((len(units), len(columns) + 1))  # (units, strata + total)
    for row, unit in enumerate(units):
        for index in unit.members:
            sizes[row, columns[strata[index]]] += 1
        sizes[row, -1] = len(unit.members)
    keep = sizes.sum(axis=0) > 0
    sizes = sizes[:, keep]
    of_label = np.array([[label == wanted for label, _ in columns] + [False] for wanted in (1, 0)])[:, keep]
    has = sizes @ of_label.T > 0  # (units, 2)
    ranks = [hashlib.sha256(f"{seed}\0{unit.key}".encode("utf-8", "surrogateescape")).digest() for unit in units]
    order = sorted(range(len(units)), key=lambda row: (-len(units[row].members).bit_length(), ranks[row]))
    targets = _targets(shares, sizes[:, :-1].sum(axis=0))  # (splits, strata + total)

    chosen = _greedy(order, sizes, targets, {})
    classes = {(split, column) for row, split in chosen.items() for column in np.flatnonzero(has[row])}
    if len(classes) < 2 * len(shares):  # a split lacks a class
        small_first = sorted(range(len(units)), key=lambda row: (len(units[row].members), ranks[row]))
        chosen = _greedy(order, sizes, targets, _anchors(small_first, sizes[:, -1], has, len(shares)))
    splits: dict[str, list[Unit]] = {split: [] for split in shares}
    names = list(shares)
    for row, unit in enumerate(units):
        splits[names[chosen[row]]].append(unit)
    return splits


def _targets(shares: Mapping[str, float], totals: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Images wanted in each split by stratum and in all, (splits, strata + 1), from the totals by stratum, (strata,).

    A test split of fewer than `SMALLEST_COUNT` embryos of a class and day could not be reported at all. So it gets that
    many where they are at most a third of all, at the expense of the training split.
    """
    targets = np.outer(list(shares.values()), totals)
    names = list(shares)
    if "test" in shares and "train" in shares:
        test, train = names.index("test"), names.index("train")
        more = np.minimum(SMALLEST_COUNT, totals / 3) - targets[test]
        more = np.clip(more, 0, targets[train] / 2)
        targets[test] += more
        targets[train] -= more
    return np.column_stack([targets, targets.sum(axis=1)])


def _greedy(
    order: Sequence[int], sizes: npt.NDArray[np.float64], targets: npt.NDArray[np.float64], fixed: Mapping[int, int]
) -> dict[int, int]:
    """Give each unit, in order, to the split where the chi-square cost grows least; `fixed` ones are given first."""
    counts = np.zeros_like(targets)
    chosen = dict(fixed)
    for row, split in fixed.items():
        counts[split] += sizes[row]
    for row in order:
        if row not in chosen:
            growth = (sizes[row] * (sizes[row] + 2 * (counts - targets)) / targets).sum(axis=1)
            chosen[row] = int(np.argmin(growth))
            counts[chosen[row]] += sizes[row]
    return chosen


def _anchors(
    order: Sequence[int], totals: npt.NDArray[np.float64], has: npt.NDArray[np.bool_], splits: int
) -> dict[int, int]:
    """Give each split one unit with both classes or two with one each, the smallest first; else one unit of any kind.

    `b` units with both classes, `p` positive and `n` negative ones can serve `b + min(p, n)` splits, whichever is taken
    first, so that taking the smallest loses nothing.
    """
    both = [row for row in order if has[row].all()]
    positive = [row for row in order if has[row, 0] and not has[row, 1]]
    negative = [row for row in order if has[row, 1] and not has[row, 0]]
    fixed: dict[int, int] = {}
    for split in range(splits):
        affordable = len(order) - len(fixed) - 2 >= splits - split - 1
        pair = [positive[0], negative[0]] if positive and negative and affordable else []
        if both and (not pair or totals[both[0]] <= totals[pair].sum()):
            fixed[both.pop(0)] = split
        elif pair:
            fixed[positive.pop(0)] = fixed[negative.pop(0)] = split
        else:
            spare = next(row for row in order if row not in fixed)
            fixed[spare] = split
            for pool in (both, positive, negative):
                if spare in pool:
                    pool.remove(spare)
    return fixed


def stratum(image: EmbryoImage) -> tuple[int, int]:
    """(label, day) of an image, -1 where unlabelled or unknown."""
    return (-1 if image.label is None else image.label, -1 if image.day is None else image.day)
