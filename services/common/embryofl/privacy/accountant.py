"""What noise proves: epsilon and delta of Gaussian noise, exactly, and of several noisy answers together.

An answer that one patient changes by at most `s`, with normal noise of deviation `d` on each of its numbers, has
``mu = s / d``. Several of them, whatever each is asked after the ones before, tell as much as one whose mu is the root of
the sum of squares (Dong, Roth and Su, "Gaussian Differential Privacy", JRSS B 2022, corollary 3.3). One of mu has, for each
epsilon, the delta that Balle and Wang give ("Improving the Gaussian Mechanism for Differential Privacy", ICML 2018, theorem
8). Both are equalities: without sampling there is nothing that a numerical accountant would find tighter.
"""

import math
from collections.abc import Callable, Iterable

_STEPS = 200  # of a bisection: to the last bit of a float


def delta_of(epsilon: float, mu: float) -> float:
    """The smallest delta with which an answer of `mu` is (epsilon, delta)-differentially private."""
    if mu <= 0:
        return 0.0
    far = _tail(epsilon / mu + mu / 2)
    return max(_tail(epsilon / mu - mu / 2) - (math.exp(epsilon + math.log(far)) if far else 0.0), 0.0)


def epsilon_of(mu: float, delta: float) -> float:
    """The smallest epsilon with which an answer of `mu` is (epsilon, delta)-differentially private; rounded up."""
    if delta_of(0.0, mu) <= delta:
        return 0.0
    most = mu * mu / 2 + mu * math.sqrt(2 * math.log(1 / delta))  # Bun and Steinke, TCC 2016, proposition 1.3
    return _least(lambda epsilon: delta_of(epsilon, mu) <= delta, 0.0, most)[1]


def mu_of(epsilon: float, delta: float) -> float:
    """The largest mu with which an answer is (epsilon, delta)-differentially private; rounded down. Both are above 0, and
    delta below 1."""
    most = 1.0
    while delta_of(epsilon, most) <= delta:
        most *= 2
    return _least(lambda mu: delta_of(epsilon, mu) > delta, 0.0, most)[0]


def composed(mus: Iterable[float]) -> float:
    """The mu of several answers together."""
    return math.sqrt(math.fsum(mu * mu for mu in mus))


def _tail(x: float) -> float:
    """The probability that a standard normal number is above `x`."""
    return math.erfc(x / math.sqrt(2)) / 2


def _least(holds: Callable[[float], bool], low: float, high: float) -> tuple[float, float]:
    """The two sides of where a property of numbers begins to hold, which is between `low` and `high`."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return low, high
