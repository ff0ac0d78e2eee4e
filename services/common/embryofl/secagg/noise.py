"""Noise that a clinic adds to its vector before it is masked, so that the sum tells less of each embryo."""

import math

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from embryofl.secagg.fixed_point import BLOCK, RING, Ring

_UNIT = 2.0**-53


def add_noise(vector: Ring, key: bytes, deviation: float) -> None:
    """Add rounded normal numbers in place, modulo 2**32. The same key gives the same numbers (on machines whose logarithm
    and cosine agree to the last bit).

    Parameters
    ----------
    vector : ndarray of uint32, (n,)
    key : bytes, (32,)
        Of AES-256 in counter mode, used for nothing else.
    deviation : float
        Standard deviation in steps of the fixed point, well above 1.

    Notes
    -----
    Box and Muller, "A note on the generation of random normal deviates", Annals of Mathematical Statistics 29 (1958).
    """
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    for begin in range(0, len(vector), BLOCK):
        part = vector[begin : begin + BLOCK]
        pairs = (len(part) + 1) // 2
        bits = np.frombuffer(stream.update(bytes(16 * pairs)), "<u8").reshape(2, pairs) >> np.uint64(11)
        uniform = (bits + 0.5) * _UNIT
        radius, angle = np.sqrt(-2 * np.log(uniform[0])), 2 * math.pi * uniform[1]
        normal = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[: len(part)]
        part += np.rint(normal * deviation).astype(np.int64).astype(RING)
