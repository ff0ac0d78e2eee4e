"""A fixed transcript: with the same random numbers, the bits are those of this version of the protocol.

If one of these changes, hub and clinics of two versions no longer understand each other: `VERSION` changes, too.
"""

import hashlib
import hmac

import numpy as np
import pytest
from Crypto.Protocol import SecretSharing

from embryofl.secagg.fixed_point import RING, to_ring
from embryofl.secagg.key_agreement import (
    key_from_seed,
    letter_key,
    pair_mask_key,
    public_text,
    seed_commitment,
    self_mask_key,
)
from embryofl.secagg.masks import Mask, apply_masks
from embryofl.secagg.shares import share_commitment
from kits.secagg import Attempt, names_of

SEED, OTHER_SEED, ROSTER = bytes(range(16)), bytes(range(16, 32)), "ab" * 32


class Drawn:
    """Random numbers that are the same each time: SHA-256 of a counter."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, size: int) -> bytes:
        self._count += 1
        return hashlib.sha256(f"draw {self._count}".encode()).digest()[:size]


@pytest.fixture
def attempt(monkeypatch) -> Attempt:
    drawn = Drawn()
    monkeypatch.setattr("secrets.token_bytes", drawn)
    monkeypatch.setattr(SecretSharing, "rng", drawn)
    updates = {n: np.linspace(-0.1, 0.1 * i, 40, dtype=np.float32) for i, n in enumerate(names_of(4))}
    return Attempt(updates, dict(zip(names_of(4), [100, 150, 200, 250], strict=True)))


def sha256(data) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def test_derived_keys_and_commitments_are_those_of_this_version():
    mine, theirs = key_from_seed(SEED), key_from_seed(OTHER_SEED)
    known = {
        "mask key": public_text(mine),
        "seed": seed_commitment(SEED),
        "share": share_commitment(ROSTER, "anna", "bert", "self", SEED),
        "self": self_mask_key(SEED, ROSTER, "anna").hex(),
        "pair": pair_mask_key(mine, public_text(theirs), ROSTER, "anna", "bert").hex(),
        "letter": letter_key(mine, public_text(theirs), ROSTER, "anna", "bert").hex(),
    }
    assert known == {
        "mask key": "97639060e5c4487041f1ac2dbae1ce67ae6eee8d53adf3612f18704b299c5810",
        "seed": "2ab1abba561f711770d1c73bf394970ca337aa38ce4052d233d6c1a2856aea97",
        "share": "509303f82a41f3036a9521277f0a0bca3d48d5711f40ddabd9ccae43de77ac31",
        "self": "33d05756e932c41305bbf08000dff64aad324c88fbf4a8f86588ec14abc4c0ba",
        "pair": "33f0d653a48b39f0fa5bcf14916f540a709d050417aefb8baa2c725e49c83136",
        "letter": "4ae536b13a58eb7007a70b30f55e20239c9a4ae42da7cacd928a795f59da1406",
    }


def hkdf(secret: bytes, info: str) -> bytes:
    """RFC 5869 by hand, with the roster as its salt; 32 bytes are one block."""
    extracted = hmac.digest(bytes.fromhex(ROSTER), secret, "sha256")
    return hmac.digest(extracted, info.encode() + b"\1", "sha256")


def test_keys_are_derived_as_the_specification_says():
    mine, theirs = key_from_seed(SEED), key_from_seed(OTHER_SEED)
    agreed = mine.exchange(theirs.public_key())
    assert self_mask_key(SEED, ROSTER, "anna") == hkdf(SEED, "embryofl secagg 1\nself\nanna")
    pair = pair_mask_key(theirs, public_text(mine), ROSTER, "bert", "anna")
    assert pair == hkdf(agreed, "embryofl secagg 1\npair\nanna\nbert")
    letter = letter_key(theirs, public_text(mine), ROSTER, "bert", "anna")
    assert letter == hkdf(agreed, "embryofl secagg 1\nletter\nbert\nanna")


def test_masks_and_fixed_point_are_those_of_this_version():
    stream = np.zeros(4, RING)
    apply_masks(stream, [Mask(bytes(32), 1)])
    assert stream.tobytes().hex() == "dc95c078a2408989ad48a21492842087"  # AES-256 of a block of zeros (NIST)
    assert to_ring(np.array([0.5, -0.25, 1e-9], np.float32), 0.5, 2.0)[0].tolist() == [2**27, 2**32 - 2**26, 0]


def test_transcript_is_that_of_this_version(attempt):
    attempt.exchange_letters()
    signed = attempt.roster.adverts[0].text(attempt.terms)
    letters = attempt.letters["clinic-02"]
    masked = {n: attempt.clinics[n].mask(attempt.vector(n), attempt.letters[n]) for n in names_of(4)}
    attempt.mask(late=["clinic-04"])
    statement = attempt.close_sum()
    attempt.confirm()
    attempt.reveal()
    known = {
        "advert": sha256(signed),
        "roster": attempt.roster.digest()[:16],
        "letters": sha256(letters.model_dump_json().encode()),
        "masked": [sha256(vector.tobytes()) for vector in masked.values()],
        "statement": sha256(statement.text()),
        "total": sha256(attempt.unmasking.total().tobytes()),
    }
    assert known == {
        "advert": "01b6adaa20a65b06",
        "roster": "54cfc8e089bf221b",
        "letters": "72278e20202a7ee2",
        "masked": ["1b8f299d43806b86", "c53ed498d59f5b2c", "5073f420bbcfac6c", "a5383ff9923ca280"],
        "statement": "13a9407d8ce695bc",
        "total": "a1bd5e02e5953674",
    }
    assert np.array_equal(attempt.unmasking.total(), attempt.plain)
