"""The accountant agrees with another program's, and never promises more than the formula."""

import math

import pytest

from embryofl.privacy.accountant import composed, delta_of, epsilon_of, mu_of

# Noise in multiples of what one patient changes, answers, delta, and epsilon by dp-accounting 0.6.0:
#   a = PLDAccountant(value_discretization_interval=1e-4)
#   a.compose(GaussianDpEvent(noise), answers); a.get_epsilon(delta)
KNOWN = [
    (1.0, 1, 1e-5, 4.37718),
    (2.0, 1, 1e-5, 1.99309),
    (5.0, 10, 1e-5, 2.59438),
    (2.0, 10, 1e-5, 7.51128),
    (10.0, 15, 1e-5, 1.50037),
    (1.5, 3, 1e-6, 5.76041),
    (20.0, 100, 1e-5, 1.99309),
    (4.0, 15, 1e-7, 5.15903),
    (0.8, 2, 1e-5, 8.59587),
    (30.0, 10, 1e-5, 0.36079),
]


@pytest.mark.parametrize(("noise", "answers", "delta", "epsilon"), KNOWN)
def test_epsilon_is_that_of_dp_accounting(noise, answers, delta, epsilon):
    assert epsilon_of(composed([1 / noise] * answers), delta) == pytest.approx(epsilon, rel=1e-3)


@pytest.mark.parametrize("mu", [0.05, 0.5, 1.7, 6.0, 40.0])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 1e-2])
def test_epsilon_and_mu_undo_each_other_and_round_to_the_safe_side(mu, delta):
    epsilon = epsilon_of(mu, delta)
    assert delta_of(epsilon, mu) <= delta
    if epsilon:
        assert mu_of(epsilon, delta) == pytest.approx(mu, rel=1e-6)
        assert delta_of(epsilon, mu_of(epsilon, delta)) <= delta


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0])
def test_delta_is_the_integral_of_what_the_privacy_loss_exceeds(mu, epsilon):
    """The hockey-stick divergence of N(mu, 1) from N(0, 1), by adding up."""
    step, total = 1e-3, 0.0
    for x in (k * step for k in range(-12_000, 12_000)):
        here = math.exp(-((x - mu) ** 2) / 2) - math.exp(epsilon - x * x / 2)
        total += max(here, 0.0) * step / math.sqrt(2 * math.pi)
    assert delta_of(epsilon, mu) == pytest.approx(total, rel=1e-3, abs=1e-9)


def test_answers_without_an_end_of_budget_are_still_counted():
    assert epsilon_of(composed([1.0] * 100), 1e-5) > 90
    assert epsilon_of(0.0, 1e-5) == 0 == delta_of(0.5, 0.0)
