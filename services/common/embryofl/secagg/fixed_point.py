"""Updates as whole numbers modulo 2**32, so that masks cancel to the last bit."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from embryofl.errors import ProtocolError

RING = np.dtype("<u4")
"""Integers modulo 2**32, little-endian in memory and on the wire."""
ONE = 1 << 30
"""What a number as large as the bound becomes. The clinics' shares of the weights add up to 1, so that no sum of clipped
updates leaves -2**31 to 2**31."""
BLOCK = 1 << 16  # numbers at a time: they stay in a core's cache

Ring = npt.NDArray[np.uint32]


def to_ring(update: npt.NDArray[np.floating[Any]], share: float, bound: float, slots: int = 0) -> tuple[Ring, bool]:
    """An update in fixed point: clipped to `bound`, times `share`, in steps of ``bound / ONE``.

    One with numbers that are not finite becomes zeros, and counts as clipped: a failure would tell the hub of this clinic
    alone, and so of an embryo that the model was made for.

    Parameters
    ----------
    update : ndarray of float32 or float64, (d,)
        New weights minus those of the global model.
    share : float
        The clinic's part of the roster's weights, in (0, 1].
    bound : float
        Of the terms.
    slots : int (default: 0)
        Zeros behind the update, for the caller to fill.

    Returns
    -------
    vector : ndarray of uint32, (d + slots,)
    clipped : bool

    Raises
    ------
    ProtocolError
        When the share is out of range: the sum could leave the ring.
    """
    if not 0 < share <= 1:
        raise ProtocolError(f"a share of {share}, expected more than 0 and at most 1")
    squares = 0.0
    for begin in range(0, len(update), BLOCK):  # not np.dot: its last bit can depend on the number of threads
        squares += float(np.square(update[begin : begin + BLOCK], dtype=np.float64).sum())
    norm = math.sqrt(squares)
    if not math.isfinite(norm):
        update, norm = np.zeros_like(update), math.inf
    factor = min(1.0, bound / norm if norm else 1.0) * share / bound * ONE
    vector, room = np.zeros(len(update) + slots, RING), np.empty(BLOCK)
    for begin in range(0, len(update), BLOCK):
        part = update[begin : begin + BLOCK]
        steps = np.multiply(part, factor, out=room[: len(part)], dtype=np.float64)
        # None is larger than ONE, so that int32 has it; its bits are those modulo 2**32.
        vector[begin : begin + len(part)] = np.rint(steps, out=steps).astype(np.int32).view(np.uint32)
    return vector, norm > bound


def from_ring(total: Ring, share: float, bound: float) -> npt.NDArray[np.float64]:
    """The weighted mean of updates.

    Parameters
    ----------
    total : ndarray of uint32, (d,)
        Their sum.
    share : float
        The survivors' part of the roster's weights, in (0, 1].
    bound : float
        Of the terms.

    Returns
    -------
    ndarray of float64, (d,)
    """
    signed = total.astype(RING, copy=False).view("<i4").astype(np.float64)
    signed *= bound / ONE / share
    return signed
