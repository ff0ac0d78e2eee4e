"""What an attack's counts prove of epsilon: exact limits, never more than is true, and more than is stated where noise is missing."""

import numpy as np
import pytest
from scipy.stats import beta, norm

from embryofl.metrics import BINS
from embryofl.metrics.bins import bin_of
from embryofl.privacy import membership
from embryofl.privacy.accountant import mu_of
from embryofl.privacy.membership import epsilon_at_least, least, most, provable, rate_at

DELTA = 1e-5


def histogram(others, members):
    return np.stack([np.bincount(bin_of(np.asarray(scores)), minlength=BINS) for scores in (others, members)])


@pytest.mark.parametrize(("hits", "of"), [(0, 20), (3, 20), (20, 20), (117, 600), (1, 1)])
def test_limits_are_those_of_clopper_and_pearson(hits, of):
    miss = membership._MISS
    upper = beta.ppf(1 - miss, hits + 1, of - hits) if hits < of else 1.0
    lower = beta.ppf(miss, hits, of - hits + 1) if hits else 0.0
    assert (least(hits, of), most(hits, of)) == (pytest.approx(lower, abs=1e-8), pytest.approx(upper, abs=1e-8))


def noisy(epsilon, patients, rng):
    """Scores of members and of others, of whom each has given an answer with the noise of `epsilon`."""
    mu = mu_of(epsilon, DELTA)
    return [norm.cdf(rng.normal(size=patients) + mu * member - mu / 2) for member in (0, 1)]


@pytest.mark.parametrize("epsilon", [0.5, 3.0])
def test_no_more_is_proven_than_the_noise_allows_and_most_of_it_with_many_patients(epsilon):
    rng = np.random.default_rng(0)
    assert all(epsilon_at_least(histogram(*noisy(epsilon, 200, rng)), DELTA) <= epsilon for _ in range(8))
    assert 0 < epsilon_at_least(histogram(*noisy(epsilon, 10_000, rng)), DELTA) <= epsilon


def test_a_third_of_the_noise_is_found_out():
    """Three times the mu of epsilon 1: what is proven is above what was stated."""
    rng = np.random.default_rng(1)
    mu = 3 * mu_of(1.0, DELTA)
    scores = [norm.cdf(rng.normal(size=4_000) + mu * member - mu / 2) for member in (0, 1)]
    assert epsilon_at_least(histogram(*scores), DELTA) > 1.0


@pytest.mark.parametrize(("members", "others", "most_of_all"), [(44, 20, 1.6), (100, 100, 2.7), (1000, 1000, 5.0)])
def test_few_patients_prove_little_even_if_the_attack_is_never_wrong(members, others, most_of_all):
    proven = provable(members, others, DELTA)
    assert proven == pytest.approx(most_of_all, abs=0.1)
    assert epsilon_at_least(histogram(np.zeros(others), np.ones(members)), DELTA) == proven


def test_nothing_is_proven_by_chance_or_without_patients():
    even = np.linspace(0, 1, 500)
    assert epsilon_at_least(histogram(even, even), DELTA) == 0
    assert provable(0, 9, DELTA) == epsilon_at_least(histogram([], even), DELTA) == 0


def test_rates_are_read_between_bins_and_withheld_where_they_would_be_part_of_a_patient():
    others, members = np.linspace(0, 1, 100), np.concatenate([np.full(30, 1.0), np.linspace(0, 0.8, 70)])
    assert rate_at(histogram(others, members), 0.05) == pytest.approx(0.3, abs=0.01)
    assert rate_at(histogram(others, others), 0.05) == pytest.approx(0.05, abs=0.001)
    assert rate_at(histogram(others[:99], members), 0.01) is None
    one_bin = histogram(np.full(100, 0.5), np.full(50, 0.5))
    assert rate_at(one_bin, 0.05) == pytest.approx(0.05)
