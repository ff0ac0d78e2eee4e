"""Weighted mean of model states: in a fixed order, in float64, with one model in memory whatever the number of clinics.

Floating-point sums depend on their order, so updates are summed in the order of the clinics' names, not of arrival. An
update that comes before its turn waits where it already is: in its upload file.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from embryofl.wire import Layout

BLOCK = 1 << 18  # numbers summed at a time


class OrderedMean:
    """Mean of packed states, each with a weight.

    Floating-point tensors are averaged in float64 and rounded once; integer tensors (counters) are averaged and rounded
    to the nearest integer.

    Parameters
    ----------
    layout : Layout
        Of every state.
    order : list of str
        The clinics that may contribute. Each must be given exactly one `add` or `skip`.
    """

    def __init__(self, layout: Layout, order: list[str]) -> None:
        self._layout = layout
        self._sums = [np.zeros((s.end - s.begin) // s.dtype.itemsize) for s in layout.sections]
        self._turn = iter(sorted(order))
        self._next = next(self._turn, None)
        self._ready: dict[str, Callable[[], None]] = {}
        self.weight = 0.0

    def add(self, name: str, update: Path, weight: float) -> None:
        """Take the packed state in file `update` (already checked); the file is deleted once it is summed."""
        self._ready[name] = lambda: self._sum(update, weight)
        self._advance()

    def skip(self, name: str) -> None:
        """`name` does not contribute."""
        self._ready[name] = lambda: None
        self._advance()

    def _advance(self) -> None:
        while self._next is not None and self._next in self._ready:
            self._ready.pop(self._next)()
            self._next = next(self._turn, None)

    def _sum(self, update: Path, weight: float) -> None:
        packed = np.memmap(update, np.uint8, "r")
        product = np.empty(BLOCK)  # one buffer for all blocks: a new one each costs twice the time
        for total, part in zip(self._sums, self._layout.section_views(packed), strict=True):
            for at in range(0, part.size, BLOCK):
                block = part[at : at + BLOCK]
                total[at : at + BLOCK] += np.multiply(block, weight, out=product[: block.size], dtype=np.float64)
        self.weight += weight
        del packed, part
        update.unlink()

    def result(self) -> np.ndarray:
        """The mean as a packed state, uint8 `(layout.size,)`.

        Raises
        ------
        ValueError
            When nobody contributed.
        """
        if not self.weight > 0:
            raise ValueError("no update to average")
        packed = self._layout.empty()
        for total, out in zip(self._sums, self._layout.section_views(packed), strict=True):
            for at in range(0, out.size, BLOCK):
                mean = total[at : at + BLOCK] / self.weight
                out[at : at + BLOCK] = mean if out.dtype.kind == "f" else np.rint(mean)
        return packed
