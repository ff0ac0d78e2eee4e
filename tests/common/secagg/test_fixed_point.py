"""Updates in fixed point: clipped, weighted, exact to a billionth of the bound, and zeros in place of what is not finite."""

import numpy as np
import pytest

from embryofl.errors import ProtocolError
from embryofl.secagg.fixed_point import BLOCK, ONE, RING, from_ring, to_ring


def test_longer_update_counts_as_one_of_the_bounds_length():
    vector, clipped = to_ring(np.full(4, 50, np.float32), 0.5, 1.0)
    assert clipped and vector.dtype == RING
    assert abs(np.linalg.norm(from_ring(vector, 0.5, 1.0)) - 1) < 1e-8


def test_update_within_the_bound_is_not_clipped_and_returns():
    update = np.linspace(-0.02, 0.02, 2 * BLOCK + 3, dtype=np.float32)
    vector, clipped = to_ring(update, 0.25, 16.0)
    assert not clipped
    assert np.abs(from_ring(vector, 0.25, 16.0) - update).max() <= 16 / ONE / 0.25 / 2


@pytest.mark.parametrize("bound", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("size", [0.0, 1e-38, 1e38])
def test_no_size_of_update_or_bound_overflows(bound, size):
    vector, clipped = to_ring(np.full(3, size, np.float32), 1.0, bound)
    assert np.abs(vector.view("<i4").astype(np.int64)).max() <= ONE
    assert clipped == (size > bound)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_update_that_is_not_finite_is_zeros_and_counts_as_clipped(number):
    vector, clipped = to_ring(np.array([1, number], np.float32), 0.5, 1.0)
    assert clipped and not vector.any()


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, 4.0, np.nan])
def test_share_beyond_the_whole_is_rejected(share):
    """With shares that add up to more than 1, a sum could leave the ring and come back with the other sign."""
    with pytest.raises(ProtocolError, match="a share of"):
        to_ring(np.ones(2, np.float32), share, 1.0)


def test_negative_numbers_and_sums_modulo_the_ring_return():
    halves = [to_ring(np.array([-0.75, 0.5], np.float32), 0.5, 1.0)[0] for _ in range(2)]
    assert np.allclose(from_ring(halves[0] + halves[1], 1.0, 1.0), [-0.75, 0.5], atol=1e-8)
