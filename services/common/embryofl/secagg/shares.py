"""Shares of seeds: Shamir, "How to share a secret", Communications of the ACM 22 (1979), over GF(2**128) (pycryptodome).

A clinic commits to every share that it gives. The hub therefore recognises a wrong share at once and knows whose it is: it
need not try out which of many shares are right, of which there can be more ways than anyone could try.
"""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from Crypto.Protocol.SecretSharing import Shamir

from embryofl.secagg.messages import VERSION, SeedName


class SeedShares(NamedTuple):
    """One clinic's shares of another's two seeds, 16 bytes each."""

    self_seed: bytes
    pair_seed: bytes


def split(seed: bytes, threshold: int, clinics: int) -> list[bytes]:
    """Shares of a seed, 16 bytes each, for the clinics in places 1, 2, ... of a roster. `threshold` of them rebuild it."""
    return [share for _, share in Shamir.split(threshold, clinics, seed, ssss=False)]


def rebuild(shares: Mapping[int, bytes]) -> bytes:
    """A seed, 16 bytes, from exactly as many shares as are needed, by the places of their holders."""
    return bytes(Shamir.combine([*shares.items()], ssss=False))


def share_commitment(roster: str, owner: str, holder: str, seed: SeedName, share: bytes) -> str:
    """SHA-256 of a share and of what it is for, hexadecimal.

    Fewer shares than the threshold say nothing about another one: it is 16 random bytes, which the digest hides.
    """
    return hashlib.sha256(f"{VERSION} share\n{roster}\n{owner}\n{holder}\n{seed}\n".encode() + share).hexdigest()
