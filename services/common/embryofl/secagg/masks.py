"""Masks: streams of AES-256 in counter mode, added to a vector or subtracted from it."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from embryofl.secagg.fixed_point import BLOCK, RING, Ring

_SPARE = 15  # bytes; cryptography wants room for one block of AES beyond what it writes


class Mask(NamedTuple):
    """A stream's key, 32 bytes that are used for nothing else, and whether it is added (1) or subtracted (-1)."""

    key: bytes
    sign: int


def pair_sign(name: str, peer: str) -> int:
    """Whether clinic `name` adds the mask that it shares with `peer` (1) or subtracts it (-1); `peer` does the opposite."""
    return 1 if name < peer else -1


def apply_masks(vector: Ring, masks: Iterable[Mask]) -> None:
    """Add or subtract streams in place, modulo 2**32.

    Parameters
    ----------
    vector : ndarray of uint32, (n,)
    masks : iterable of Mask
        The counter begins at 0, so each key gives one stream.
    """
    streams = [(Cipher(algorithms.AES(m.key), modes.CTR(bytes(16))).encryptor(), m.sign) for m in masks]
    zeros, buffer = memoryview(bytes(BLOCK * RING.itemsize)), bytearray(BLOCK * RING.itemsize + _SPARE)
    for begin in range(0, len(vector), BLOCK):
        part = vector[begin : begin + BLOCK]
        for stream, sign in streams:
            stream.update_into(zeros[: part.nbytes], buffer)
            numbers = np.frombuffer(buffer, RING, len(part))
            (np.add if sign > 0 else np.subtract)(part, numbers, out=part)
