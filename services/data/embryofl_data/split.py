"""Split by patient, stratified by label and day.

Patients (else embryos, else images) are units. They are taken in an order that depends on the seed and their own names
only, large cohorts first, and each goes to the side whose shares by (label, day) it improves most. The cost is the
chi-square distance between the counts of a side and its targets. This is the greedy assignment of scikit-learn's
`StratifiedGroupKFold` with unequal sides.
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

SIDES = ("train", "validation", "test")
T = TypeVar("T", bound=Any)


@dataclass(frozen=True)
class Unit:
    """Images that must stay together: ascending indices `members`; `key` is the first of their groups by name."""

    key: str
    members: tuple[int, ...]


def split_by_patient(
    images: Sequence[EmbryoImage],
    seed: int = 0,
    validation: float = 0.20,
    test: float = 0.20,
    links: Sequence[str] | None = None,
) -> dict[str, list[int]]:
    """Split labelled images into train, validation and test so that no patient is on two sides.

    Parameters
    ----------
    images : sequence of EmbryoImage
        Labelled and unlabelled ones, in any order: the sides do not depend on it.
    seed : int (default: 0)
        The same seed gives the same split.
    validation, test : float (default: 0.20 each)
        Shares of the labelled images; 0 leaves the side empty. The test side gets more of a class and day where its
        share would be too small to report (see `_targets`).
    links : sequence of str, optional
        One key per image, such as the SHA-256 of its content. Groups that share a key other than "" stay together.

    Returns
    -------
    dict of str to list of int
        `train`, `validation` and `test` to ascending indices of labelled images. Both classes are on every side
        wherever the groups allow it.

    Raises
    ------
    DataError
        When there are fewer groups with labelled images than sides.
    """
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise ValueError(f"shares must be in [0, 1) and leave something to train: {validation=}, {test=}")
    labelled = [index for index, image in enumerate(images) if image.label is not None]
    units = [
        Unit(unit.key, members)
        for unit in join_groups(images, links)
        if (members := tuple(index for index in unit.members if images[index].label is not None))
    ]
    shares = {"train": 1 - validation - test, "validation": validation, "test": test}
    shares = {side: share for side, share in shares.items() if share > 0}
    if len(units) < len(shares):
        raise DataError(
            f"The {len(labelled)} labelled images belong to {len(units)} patient(s). Expected at least {len(shares)}, one "
            f"each for {', '.join(shares)}: a patient's embryos all stay in one split. Add patients; if there are more, "
            "check the columns patient and embryo of labels.csv."
        )
    sides = assign(units, [stratum(image) for image in images], shares, seed)
    return {side: sorted(index for unit in sides.get(side, []) for index in unit.members) for side in SIDES}


class Groups(Generic[T]):
    """Things joined into groups, pair by pair (union-find)."""

    def __init__(self, pairs: Iterable[tuple[T, T]] = ()) -> None:
        self._parents: dict[T, T] = {}
        self._sizes: dict[T, int] = {}
        for first, second in pairs:
            self.join(first, second)

    def join(self, first: T, second: T) -> None:
        """Put two things, and all that are joined to them, into one group."""
        one, other = self.find(first), self.find(second)
        if one != other:
            self._sizes[one] = self._sizes.get(one, 1) + self._sizes.get(other, 1)
            self._parents[other] = one

    def find(self, node: T) -> T:
        """The thing that stands for the group of another."""
        while (parent := self._parents.setdefault(node, node)) != node:
            self._parents[node] = node = self._parents[parent]
        return node

    def size_of_both(self, first: T, second: T) -> int:
        """Size of the group that holds both, 0 where they are in two."""
        one = self.find(first)
        return self._sizes.get(one, 1) if one == self.find(second) else 0

    def members(self) -> list[tuple[T, ...]]:
        """Groups of two and more, ascending."""
        groups: dict[T, list[T]] = defaultdict(list)
        for node in sorted(self._parents):
            groups[self.find(node)].append(node)
        return sorted(tuple(members) for members in groups.values() if len(members) > 1)


def join_groups(images: Sequence[EmbryoImage], links: Sequence[str] | None = None) -> list[Unit]:
    """Join images into units by group and, transitively, by link; ordered by key."""
    groups: Groups[str] = Groups()
    for image, link in zip(images, links if links is not None else [""] * len(images), strict=True):
        if link:
            groups.join("group " + image.group, "link " + link)
    members: dict[str, list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        members[groups.find("group " + image.group)].append(index)
    units = [Unit(min(images[index].group for index in joined), tuple(joined)) for joined in members.values()]
    return sorted(units, key=lambda unit: unit.key)


def assign(
    units: Sequence[Unit], strata: Sequence[tuple[int, int]], shares: Mapping[str, float], seed: int
) -> dict[str, list[Unit]]:
    """Assign units to sides so that each side's counts by stratum come near its share.

    Parameters
    ----------
    units : sequence of Unit
        At least as many as sides.
    strata : sequence of (label, day)
        One per image; label -1 is unlabelled, day -1 unknown.
    shares : mapping of str to float
        Sides to shares, which add up to 1. When both classes cannot be on every side, earlier sides get them first.
    seed : int
        Decides the order of units of like size.

    Returns
    -------
    dict of str to list of Unit
        Every side of `shares`; none is empty.
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
    targets = _targets(shares, sizes[:, :-1].sum(axis=0))  # (sides, strata + total)

    chosen = _greedy(order, sizes, targets, {})
    if not _complete(chosen, has, len(shares)):
        small_first = sorted(range(len(units)), key=lambda row: (len(units[row].members), ranks[row]))
        chosen = _greedy(order, sizes, targets, _anchors(small_first, sizes[:, -1], has, len(shares)))
    sides: dict[str, list[Unit]] = {side: [] for side in shares}
    names = list(shares)
    for row, unit in enumerate(units):
        sides[names[chosen[row]]].append(unit)
    return sides


def _targets(shares: Mapping[str, float], totals: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Images wanted on each side by stratum and in all, (sides, strata + 1), from the totals by stratum, (strata,).

    A test side of fewer than `SMALLEST_COUNT` embryos of a class and day could not be reported at all. So it gets that
    many where they are at most a third of all, at the expense of the training side.
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
    """Give each unit, in order, to the side where the chi-square cost grows least; `fixed` ones are given first."""
    counts = np.zeros_like(targets)
    chosen = dict(fixed)
    for row, side in fixed.items():
        counts[side] += sizes[row]
    for row in order:
        if row not in chosen:
            growth = (sizes[row] * (sizes[row] + 2 * (counts - targets)) / targets).sum(axis=1)
            chosen[row] = int(np.argmin(growth))
            counts[chosen[row]] += sizes[row]
    return chosen


def _complete(chosen: Mapping[int, int], has: npt.NDArray[np.bool_], sides: int) -> bool:
    """Whether every side holds a unit and every class that the units allow."""
    return all(
        any(chosen[row] == side and has[row, column] for row in chosen) for side in range(sides) for column in (0, 1)
    )


def _anchors(
    order: Sequence[int], totals: npt.NDArray[np.float64], has: npt.NDArray[np.bool_], sides: int
) -> dict[int, int]:
    """Give each side one unit with both classes or two with one each, the smallest first; else one unit of any kind.

    `b` units with both classes, `p` positive and `n` negative ones can serve `b + min(p, n)` sides, whichever is taken
    first, so that taking the smallest loses nothing.
    """
    both = [row for row in order if has[row].all()]
    positive = [row for row in order if has[row, 0] and not has[row, 1]]
    negative = [row for row in order if has[row, 1] and not has[row, 0]]
    fixed: dict[int, int] = {}
    for side in range(sides):
        affordable = len(order) - len(fixed) - 2 >= sides - side - 1
        pair = [positive[0], negative[0]] if positive and negative and affordable else []
        if both and (not pair or totals[both[0]] <= totals[pair].sum()):
            fixed[both.pop(0)] = side
        elif pair:
            fixed[positive.pop(0)] = fixed[negative.pop(0)] = side
        else:
            spare = next(row for row in order if row not in fixed)
            fixed[spare] = side
            for pool in (both, positive, negative):
                if spare in pool:
                    pool.remove(spare)
    return fixed


def stratum(image: EmbryoImage) -> tuple[int, int]:
    """(label, day) of an image, -1 where unlabelled or unknown."""
    return (-1 if image.label is None else image.label, -1 if image.day is None else image.day)
