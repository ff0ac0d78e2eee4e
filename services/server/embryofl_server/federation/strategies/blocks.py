"""Reading the updates of a round in blocks: whatever the number of clinics, a few megabytes of them are in memory.

Floating-point sums depend on their order, so everything here follows the order of the updates: that of the clinics'
names. Blocks are read, not memory-mapped, so that memory in use stays predictable.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embryofl_server.federation.strategies.base import Aggregation, ClinicUpdate, Round, State

BLOCK_BYTES = 2 << 20  # of all updates together, as float64: little enough for a processor's cache
LEAST_NUMBERS = 1 << 15  # of each update, so that many clinics do not mean very many blocks


@dataclass(frozen=True)
class Block:
    """The same numbers of all updates, float64 `updates` (n, k), and of the global model, `model` (k,).

    `updates` may be written to, and is reused for the next block. `section` and `begin` are their place: numbers `begin` to
    `begin + k` of that section of the layout. `floats` is their place among all floating-point numbers of the model; None
    for integers.
    """

    section: int
    begin: int
    updates: np.ndarray
    model: np.ndarray
    floats: slice | None


def blocks(round_: Round, *, floats_only: bool = False) -> Iterator[Block]:
    """The round's updates, block by block; updates that the gate has clipped are scaled here."""
    base, floats = len(round_.layout.header), 0
    views = round_.layout.section_views(round_.model)
    size = max(LEAST_NUMBERS, BLOCK_BYTES // (8 * len(round_.updates)))
    buffer = np.empty((len(round_.updates), size))  # one for all blocks: a new one each takes twice the time
    for number, (section, old) in enumerate(zip(round_.layout.sections, views, strict=True)):
        is_float = section.dtype.kind == "f"
        if floats_only and not is_float:
            continue
        for begin in range(0, old.size, size):
            model = old[begin : begin + size].astype(np.float64)
            values = buffer[:, : model.size]
            _read(round_.updates, section.dtype, base + section.begin + begin * section.dtype.itemsize, model, values)
            place = slice(floats + begin, floats + begin + model.size) if is_float else None
            yield Block(number, begin, values, model, place)
        floats += old.size if is_float else 0


def _read(updates: Sequence[ClinicUpdate], dtype: np.dtype[Any], at: int, model: np.ndarray, out: np.ndarray) -> None:
    for row, update in zip(out, updates, strict=True):
        row[:] = np.fromfile(update.path, dtype, model.size, offset=at)
        if update.scale != 1.0:
            row -= model
            row *= update.scale
            row += model


Combine = Callable[[Block], np.ndarray]
"""From a block to the same numbers of the new model, float64 (k,)."""


def combine(round_: Round, function: Combine) -> np.ndarray:
    """A new packed model, uint8 (layout.size,), number by number from those of the updates.

    Floating-point tensors are rounded once; integer tensors (counters) are rounded to the nearest integer.
    """
    packed = round_.layout.empty()
    out = round_.layout.section_views(packed)
    for block in blocks(round_):
        new = function(block)
        target = out[block.section][block.begin : block.begin + new.size]
        target[:] = new if target.dtype.kind == "f" else np.rint(new)
    return packed


def mean(updates: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """The mean of the rows of a block, float64 (n, k), with these weights, (n,): float64 (k,). Uses up `updates`.

    Raises
    ------
    ValueError
        When the sum of the weights is not above 0.
    """
    sum_of_weights = float(sum(weights))
    if not sum_of_weights > 0:
        raise ValueError("no update to average")
    total = np.zeros(updates.shape[1])
    for row, weight in zip(updates, weights, strict=True):
        row *= weight
        total += row
    total /= sum_of_weights
    return total


def averaged(round_: Round, weights: Sequence[float], state: State | None = None) -> Aggregation:
    """The mean of the updates with these weights, (n,), and the clinics' shares in it; ValueError as `mean`."""
    model = combine(round_, lambda block: mean(block.updates, weights))
    return Aggregation(model, state or {}, shares(round_.updates, weights))


def inner_products(round_: Round) -> np.ndarray:
    """Inner products of the updates' differences from the global model, float64 (n, n), over all float tensors.

    All distances between updates, and from any weighted mean of them, follow from these.
    """
    total = np.zeros((len(round_.updates), len(round_.updates)))
    for block in blocks(round_, floats_only=True):
        differences = block.updates - block.model
        total += differences @ differences.T
    return total


def shares(updates: Sequence[ClinicUpdate], weights: Sequence[float]) -> dict[str, float]:
    """Each clinic's share of a weighted mean."""
    sum_of_weights = float(sum(weights))
    return {u.clinic: float(w) / sum_of_weights for u, w in zip(updates, weights, strict=True)}
