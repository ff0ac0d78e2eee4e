"""Noise under the masks: normal, as large as it says, and the same again for the same key."""

import numpy as np
import pytest

from embryofl.masked_update import noise_deviation
from embryofl.secagg.fixed_point import BLOCK, ONE, RING, from_ring
from embryofl.secagg.noise import add_noise

SIZE = 3 * BLOCK + 7


def noise(key: bytes, deviation: float = 1e5, size: int = SIZE) -> np.ndarray:
    vector = np.zeros(size, RING)
    add_noise(vector, key, deviation)
    return vector.view("<i4").astype(np.float64)


def test_numbers_are_normal_with_the_deviation_that_was_asked_for():
    numbers = noise(bytes(32)) / 1e5
    assert abs(numbers.mean()) < 0.01 and numbers.std() == pytest.approx(1, abs=0.01)
    for quantile, expected in ((0.025, -1.960), (0.5, 0.0), (0.975, 1.960), (0.9987, 3.0)):
        assert np.quantile(numbers, quantile) == pytest.approx(expected, abs=0.06)
    halves = numbers[: SIZE // 2], numbers[SIZE // 2 : SIZE // 2 * 2]
    assert abs(np.corrcoef(*halves)[0, 1]) < 0.02


def test_a_key_gives_the_same_numbers_again_and_another_key_others():
    assert np.array_equal(noise(bytes(32)), noise(bytes(32)))
    assert abs(np.corrcoef(noise(bytes(32)), noise(bytes([1] * 32)))[0, 1]) < 0.02


def test_noise_is_added_modulo_the_ring():
    vector = np.full(SIZE, 2**32 - 5, RING)
    add_noise(vector, bytes(32), 1e5)
    assert np.array_equal((vector + RING.type(5)).view("<i4").astype(float), noise(bytes(32)))


@pytest.mark.parametrize(("clinics", "needed"), [(3, 3), (10, 7)])
def test_all_clinics_but_one_of_the_least_sum_add_up_to_the_noise_of_the_setting(clinics, needed):
    each = [noise(bytes([i] * 32), noise_deviation(0.5, needed, SIZE)) for i in range(clinics)]
    mean = from_ring(sum(each[: needed - 1]).astype(np.int64).astype(RING), 1.0, bound=2.0)
    assert np.linalg.norm(mean) == pytest.approx(0.5 * 2.0, rel=0.01)


def test_noise_as_large_as_the_bound_stays_in_the_ring():
    assert 8 * noise_deviation(1.0, 3, 1281) < ONE  # the sum has room for twice the bound
