"""What attacks that tell training patients (members) from others prove of a model: at least so much epsilon.

Of a model with (epsilon, delta)-differential privacy no attack has ``TPR > exp(epsilon) FPR + delta``, nor the same with
the sides exchanged (Kairouz, Oh and Viswanath, "The Composition Theorem for Differential Privacy", ICML 2015, theorem 2.1).
So exact limits of both rates (Clopper and Pearson, Biometrika 26, 1934) bound epsilon from below (Jagielski, Ullman and
Oprea, "Auditing Differentially Private Machine Learning", NeurIPS 2020). The thresholds are fixed beforehand, and the 5 %
are divided among all that are tried. Patients count as independent, which in one model they are only nearly: an assumption,
as is that chance decided who was trained on (Steinke, Nasr and Jagielski, "Privacy Auditing with One (1) Training Run",
NeurIPS 2023, do without the first).
"""

import math
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from embryofl.metrics import IntArray, nearest_edge

Attack = Literal["loss", "rmia"]
"""By how well the model fits a patient; or by how much better than reference models that were trained on half of all."""
ATTACKS: tuple[Attack, ...] = get_args(Attack)
Audited = Attack | Literal["canaries"]
"""What an audit counts: patients by these attacks, and guesses of canaries (`one_run`)."""

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
_MISS = 0.05 / (2 * len(THRESHOLDS) * len(ATTACKS))
"""The chance that one limit is wrong: two rates at each threshold of each attack, 5 % for all together."""
_STEPS = 32  # of a bisection


def epsilon_at_least(histogram: IntArray, delta: float) -> float:
    """What an attack's scores prove of epsilon with 95 % confidence for all attacks together; 0 = nothing.

    Parameters
    ----------
    histogram : ndarray of int64, (2, BINS)
        Of scores of others, and of members.
    delta : float
    """
    others, members = (int(count) for count in histogram.sum(axis=1))
    if not others or not members:
        return 0.0
    best = 0.0
    for threshold in THRESHOLDS:
        false, true = (int(count) for count in histogram[:, nearest_edge(threshold) :].sum(axis=1))
        best = max(best, _epsilon(least(true, members), most(false, others), delta))
    return best


def provable(members: int, others: int, delta: float) -> float:
    """What the same would prove of an attack that is never wrong: with few patients, little."""
    return _epsilon(least(members, members), most(0, others), delta) if members and others else 0.0


def rate_at(histogram: IntArray, false_rate: float) -> float | None:
    """The part of members that an attack finds if it may be wrong about such a part of the others, linear between bins.

    None where the others are too few for that part to be one of them.
    """
    others, members = histogram.sum(axis=1)
    if not members or others * false_rate < 1:
        return None
    rates = np.concatenate(
        [np.zeros((2, 1)), np.cumsum(histogram[:, ::-1], axis=1) / np.array([[others], [members]])], 1
    )
    last = int(np.searchsorted(rates[0], false_rate, side="right")) - 1
    if last == rates.shape[1] - 1 or rates[0, last] == false_rate:
        return float(rates[1, last])
    part = (false_rate - rates[0, last]) / (rates[0, last + 1] - rates[0, last])
    return float(rates[1, last] + part * (rates[1, last + 1] - rates[1, last]))


def least(hits: int, of: int) -> float:
    """The lower limit of a probability that was `hits` times in `of`."""
    return 1 - most(of - hits, of)


def most(hits: int, of: int) -> float:
    """The upper limit of a probability: with it, `hits` or fewer of `of` have a chance of `_MISS`."""
    if hits >= of:
        return 1.0
    counts = np.arange(hits + 1)
    ways = np.append(0.0, np.cumsum(np.log((of - counts[:-1]) / counts[1:])))

    def is_too_rare(p: float) -> bool:
        chances = np.exp(ways + counts * math.log(p) + (of - counts) * math.log1p(-p))
        return float(chances.sum()) <= _MISS

    return _first(is_too_rare, hits / of, 1.0)


def _first(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Where a property begins to hold that holds from there on."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _epsilon(true_rate: float, false_rate: float, delta: float) -> float:
    """What a least true and a most false positive rate prove, by members or by others."""
    sides = ((true_rate, false_rate), (1 - false_rate, 1 - true_rate))
    return max(0.0, *(math.log((hit - delta) / miss) for hit, miss in sides if hit > delta and miss > 0))
