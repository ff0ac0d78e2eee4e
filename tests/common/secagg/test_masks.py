"""Masks and their keys: two clinics agree on one, it cancels, and no two uses have the same."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from embryofl.errors import ProtocolError
from embryofl.secagg.fixed_point import BLOCK, RING
from embryofl.secagg.key_agreement import (
    check_key,
    key_from_seed,
    letter_key,
    pair_mask_key,
    public_text,
    seed_commitment,
    self_mask_key,
)
from embryofl.secagg.masks import Mask, apply_masks, pair_sign

ROSTER, OTHER_ROSTER = "ab" * 32, "cd" * 32
ANNA, BERT = key_from_seed(bytes(16)), key_from_seed(bytes([1] * 16))


def stream(key: bytes, length: int) -> np.ndarray:
    vector = np.zeros(length, RING)
    apply_masks(vector, [Mask(key, 1)])
    return vector


def test_masks_of_a_pair_cancel():
    keys = {
        pair_mask_key(ANNA, public_text(BERT), ROSTER, "anna", "bert"),
        pair_mask_key(BERT, public_text(ANNA), ROSTER, "bert", "anna"),
    }
    assert len(keys) == 1
    assert {pair_sign("anna", "bert"), pair_sign("bert", "anna")} == {1, -1}
    vector = np.arange(2 * BLOCK + 5, dtype=RING)
    apply_masks(vector, [Mask(key, sign) for key in keys for sign in (1, -1)])
    assert np.array_equal(vector, np.arange(2 * BLOCK + 5, dtype=RING))


@pytest.mark.parametrize("length", [1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_stream_of_a_key_does_not_depend_on_the_length(length):
    assert np.array_equal(stream(bytes(32), length), stream(bytes(32), 2 * BLOCK)[:length])


def test_no_two_uses_have_the_same_key():
    seed = bytes(16)
    keys = [
        self_mask_key(seed, ROSTER, "anna"),
        self_mask_key(seed, OTHER_ROSTER, "anna"),
        self_mask_key(seed, ROSTER, "bert"),
        pair_mask_key(ANNA, public_text(BERT), ROSTER, "anna", "bert"),
        pair_mask_key(ANNA, public_text(BERT), OTHER_ROSTER, "anna", "bert"),
        pair_mask_key(ANNA, public_text(BERT), ROSTER, "anna", "cleo"),
        letter_key(ANNA, public_text(BERT), ROSTER, "anna", "bert"),
        letter_key(ANNA, public_text(BERT), ROSTER, "bert", "anna"),
    ]
    assert len({*keys}) == len(keys) and {len(k) for k in keys} == {32}
    assert seed_commitment(seed) != seed_commitment(bytes([1] * 16))


@pytest.mark.parametrize(
    "point",
    [  # all reduced points of low order: https://cr.yp.to/ecdh.html#validate
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        2**255 - 20,
    ],
)
def test_key_of_low_order_is_rejected_by_its_clinics_name(point):
    with pytest.raises(ProtocolError, match="not of low order") as caught:
        check_key(point.to_bytes(32, "little").hex(), "anna")
    assert caught.value.clinic == "anna"
    check_key(public_text(X25519PrivateKey.generate()), "anna")
