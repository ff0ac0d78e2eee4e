"""Which embryos an answer under masks is about, so that no two answers differ by a few.

The difference of two sums is that of the embryos that came, went or were corrected in between: of one new embryo, the
totals of its day tell the label. An answer is therefore about the same embryos as an earlier one, with the labels and days
that they had then, until `GROUP` of a split are others. Where that is not possible because an image is gone, there is none.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from embryofl.errors import ProtocolError
from embryofl.metrics import ScoredEmbryos
from embryofl.pooled_metrics import GROUP

Told = dict[str, tuple[int, int]]
"""Embryos of a split: a digest of their images to label and day. It stays at the clinic."""


class CannotTell(ProtocolError):
    """No answer without telling of a few embryos; why, in words that may leave the clinic."""


def told_of(ids: Sequence[str], embryos: ScoredEmbryos) -> Told:
    """The embryos of a split as they are now; empty if their images are not known."""
    return {i: (int(label), int(day)) for i, label, day in zip(ids, embryos.labels, embryos.days, strict=bool(ids))}


def differing(one: Told, other: Told) -> int:
    """How many embryos of one set are not in the other, or not with the same label and day."""
    return max(len(one.items() - other.items()), len(other.items() - one.items()))


def to_tell(now: Told, before: Iterable[Told], split: str, *, again: bool = False) -> Told:
    """The embryos that an answer is about.

    Parameters
    ----------
    now : Told
    before : iterable of Told
        Those of earlier answers, oldest first; `again`: that of this very question alone.
    split : str

    Raises
    ------
    CannotTell
    """
    near = [told for told in before if again or differing(now, told) < GROUP]
    if not near or now in near:
        return now
    for told in reversed(near):
        if told.keys() <= now.keys():
            return told
    raise CannotTell(
        f"{split} embryos of an earlier answer are gone, and fewer than {GROUP} are others: the difference of two answers "
        "would be theirs"
    )


def numbers_told(ids: Sequence[str], told: Mapping[str, tuple[int, int]], count: int) -> list[int]:
    """The numbers of the embryos that an answer is about, of `count`; all where their images are not known."""
    return [number for number, i in enumerate(ids) if i in told] if ids else list(range(count))


def only_told(embryos: ScoredEmbryos, ids: Sequence[str], told: Mapping[str, tuple[int, int]]) -> ScoredEmbryos:
    """The embryos of an answer, with their scores; all where their images are not known."""
    if not ids:
        return embryos
    chosen = numbers_told(ids, told, len(ids))
    values = np.array([told[ids[number]] for number in chosen], np.int64).reshape(-1, 2)
    return ScoredEmbryos(embryos.scores[chosen], values[:, 0], values[:, 1])
