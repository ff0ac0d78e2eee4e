"""What guesses of canaries prove of one run: at least so much epsilon.

Steinke, Nasr and Jagielski, "Privacy Auditing with One (1) Training Run", NeurIPS 2023. Each canary is in the training by a
coin of its own. Somebody who does not know the coins guesses some of them, and how many guesses are right bounds epsilon.
Unlike in `membership`, chance has decided who was there, and canaries need not be independent of each other.
"""

import math

import numpy as np
import numpy.typing as npt

from embryofl.metrics import FloatArray, IntArray

FEWEST_GUESSES = 30
"""Guesses of a clinic leave as counts of no fewer."""
FEWEST_CANARIES = 3 * FEWEST_GUESSES // 2
_MISS = 0.05
_STEPS = 30  # of a bisection
_MOST = 50.0


def guesses_of(canaries: int) -> int:
    """How many of so many canaries are guessed: a third that looks as if it was there, and a third that does not."""
    return 2 * (canaries // 3)


def right_of(scores: FloatArray, included: npt.NDArray[np.bool_], guesses: int) -> int:
    """How many guesses are right, half of which are "was there", of the highest scores, and half "was not", of the lowest.

    Parameters
    ----------
    scores : ndarray of float64, (m,)
    included : ndarray of bool, (m,)
        The coins.
    guesses : int
        At most m.
    """
    there, half = included[np.argsort(scores, kind="stable")], guesses // 2
    return int(np.count_nonzero(~there[:half]) + np.count_nonzero(there[len(there) - half :]))


def one_run_epsilon(canaries: int, guesses: int, right: int, delta: float) -> float:
    """What right guesses prove of epsilon, with 95 % confidence: with less, so many have a chance of 5 % at most (theorem
    5.2 of the paper). 0 = nothing.

    Parameters
    ----------
    canaries, guesses, right : int
    delta : float
    """
    low, high = 0.0, _MOST
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _chance(middle, canaries, guesses, right, delta) <= _MISS else (low, middle)
    return low


def _chance(epsilon: float, canaries: int, guesses: int, right: int, delta: float) -> float:
    """The largest chance of as many right guesses in a run with (epsilon, delta)-differential privacy."""
    chances = _binomial(guesses, epsilon)
    fewer = np.cumsum(chances[:right][::-1])
    most = float((fewer / np.arange(1, right + 1)).max(initial=0.0))
    return float(chances[right:].sum()) + 2 * canaries * delta * most


def _binomial(guesses: int, epsilon: float) -> FloatArray:
    """The chance of each number of right guesses, where each is right with ``exp(epsilon) / (1 + exp(epsilon))``: float64
    (guesses + 1,)."""
    counts: IntArray = np.arange(guesses + 1)
    ways = np.append(0.0, np.cumsum(np.log((guesses - counts[:-1]) / counts[1:])))
    hit, miss = -math.log1p(math.exp(-epsilon)), -math.log1p(math.exp(epsilon))
    return np.asarray(np.exp(ways + counts * hit + (guesses - counts) * miss), np.float64)
