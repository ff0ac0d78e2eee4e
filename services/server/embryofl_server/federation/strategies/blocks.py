"""Reading the updates of a round in blocks: whatever the number of clinics, a few megabytes of them are in memory.

Floating-point sums depend on their order, so everything here goes in the order in which the updates are given: that of
the clinics' names. Blocks are read and not memory-mapped, so that the memory in use is what it says.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embryofl_server.federation.strategies.base import ClinicUpdate, Round

BLOCK_BYTES = 2 << 20  # of all updates together, as float64: little enough for a processor's cache
LEAST_NUMBERS = 1 << 15  # of each update, so that many clinics do not make very many blocks


@dataclass(frozen=True)
class Block:
    """The same numbers of all updates, float64 `updates` (n, k), and of the global model, `model` (k,).

    `updates` may be written to, and is used again for the next block.
    `section` and `begin` say where they belong: numbers `begin` to `begin + k` of that section of the layout.
    """

    section: int
    begin: int
    updates: np.ndarray
    model: np.ndarray


def blocks(round_: Round, *, floats_only: bool = False) -> Iterator[Block]:
    """The round's updates, block by block; what the gate has clipped is scaled here."""
    base = len(round_.layout.header)
    views = round_.layout.section_views(round_.model)
    size = max(LEAST_NUMBERS, BLOCK_BYTES // (8 * len(round_.updates)))
    buffer = np.empty((len(round_.updates), size))  # one for all blocks: a new one each costs twice the time
    for number, (section, old) in enumerate(zip(round_.layout.sections, views, strict=True)):
        if floats_only and section.dtype.kind != "f":
            continue
        for begin in range(0, old.size, size):
            model = old[begin : begin + size].astype(np.float64)
            at = base + section.begin + begin * section.dtype.itemsize
            values = buffer[:, : model.size]
            _read(round_.updates, section.dtype, at, model, values)
            yield Block(number, begin, values, model)


def _read(updates: Sequence[ClinicUpdate], dtype: np.dtype[Any], at: int, model: np.ndarray, out: np.ndarray) -> None:
    for row, update in zip(out, updates, strict=True):
        row[:] = np.fromfile(update.path, dtype, model.size, offset=at)
        if update.scale != 1.0:
            row -= model
            row *= update.scale
            row += model


Combine = Callable[[Block], np.ndarray]
"""From the same numbers of all updates and of the global model to the new model's, float64 (k,)."""


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
        When the weights do not add up to more than nothing.
    """
    whole = float(sum(weights))
    if not whole > 0:
        raise ValueError("no update to average")
    total = np.zeros(updates.shape[1])
    for row, weight in zip(updates, weights, strict=True):
        row *= weight
        total += row
    total /= whole
    return total


def weighted_mean(round_: Round, weights: Sequence[float]) -> np.ndarray:
    """The mean of the updates with these weights, (n,), as a packed model; ValueError as `mean`."""
    return combine(round_, lambda block: mean(block.updates, weights))


def inner_products(round_: Round) -> np.ndarray:
    """Inner products of the updates' differences from the global model, float64 (n, n), over all float tensors.

    All distances between updates, and from any weighted mean of them, follow from these.
    """
    total = np.zeros((len(round_.updates), len(round_.updates)))
    for block in blocks(round_, floats_only=True):
        differences = block.updates - block.model
        total += differences @ differences.T
    return total


def squared_distances(products: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances between the updates, float64 (n, n), from their `inner_products`."""
    norms = np.diag(products)
    return np.asarray(np.maximum(norms[:, None] + norms[None, :] - 2 * products, 0.0))


def shares(updates: Sequence[ClinicUpdate], weights: Sequence[float]) -> dict[str, float]:
    """What part of a weighted mean each clinic has."""
    whole = float(sum(weights))
    return {u.clinic: float(w) / whole for u, w in zip(updates, weights, strict=True)}
