"""Which embryos are viable: a logistic model of the drawn morphology with a known best possible AUROC."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .cohort import Floats, Morphology, draw_morphology

# Log odds, in standard deviations of the score, by which day-5 embryos do better than day-3 embryos.
DAY5_ADVANTAGE = 0.2


def auroc(score: Floats, probability: NDArray[np.float64 | np.int64]) -> float | None:
    """Probability that a viable embryo outranks one that is not, when embryo i is viable with `probability[i]`.

    Ratio of expectations over all pairs, ties counted half: sum of p_i (1 - p_j) [s_i > s_j] over sum of p_i (1 - p_j).
    With labels for probabilities it is the area under the ROC curve. None when one class is missing.
    """
    values, place = np.unique(score, return_inverse=True)
    ones = np.bincount(place, probability, len(values))
    zeros = np.bincount(place, 1 - probability, len(values))
    if ones.sum() <= 0 or zeros.sum() <= 0:
        return None
    below = np.cumsum(zeros) - zeros / 2
    return float((ones * below).sum() / (ones.sum() * zeros.sum()))


def _raw_score(m: Morphology) -> float:
    if m.day == 3:
        cells = min(m.cells, 8) - 0.5 * max(m.cells - 8, 0)
        return 0.55 * cells - 10.0 * m.fragmentation - 6.0 * m.asymmetry - 1.5 * m.darkness
    return 0.75 * m.expansion + 3.0 * m.icm + 3.0 * m.te - 1.5 * m.darkness


@lru_cache(maxsize=1)
def _reference() -> dict[int, tuple[float, float]]:
    """Mean and standard deviation of the raw score by day in a fixed population."""
    moments = {}
    for day in (3, 5):
        rng = np.random.default_rng([20240101, day])
        scores = [_raw_score(draw_morphology(rng, day, float(rng.standard_normal()))) for _ in range(4000)]
        moments[day] = (float(np.mean(scores)), float(np.std(scores)))
    return moments


def morphology_score(morphology: Morphology) -> float:
    """How good the embryo looks to a perfect observer: mean about 0, standard deviation 1 on each day."""
    mean, deviation = _reference()[morphology.day]
    return (_raw_score(morphology) - mean) / deviation + (DAY5_ADVANTAGE if morphology.day == 5 else 0.0)


def _probability(score: Floats, slope: float, prevalence: float) -> Floats:
    """Logistic probabilities with the given slope whose mean is `prevalence` (bisection on the intercept)."""
    low, high = -40.0 * (1 + slope), 40.0 * (1 + slope)
    probability = np.full(len(score), prevalence)
    for _ in range(80):
        middle = (low + high) / 2
        probability = 1 / (1 + np.exp(-np.clip(slope * score + middle, -60, 60)))
        if probability.mean() < prevalence:
            low = middle
        else:
            high = middle
    return probability


def draw_outcomes(
    morphologies: Sequence[Morphology], prevalence: float, best_auc: float, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.int64]]:
    """Label a clinic's embryos so that the best possible AUROC is `best_auc` in expectation.

    The slope of the logistic model is found by bisection: a steeper one leaves less to chance. Labels are drawn by
    systematic sampling along the sorted probabilities (Madow 1949): each embryo keeps exactly its own probability, and
    the numbers drawn stay close to the expected ones even in a small clinic.

    Returns
    -------
    float64 array (n,)
        True probability that the embryo is viable, given its morphology.
    int64 array (n,)
        Labels: 1 viable, 0 not viable.
    """
    score = np.array([morphology_score(m) for m in morphologies])
    low, high = 0.0, 60.0
    for _ in range(50):
        slope = (low + high) / 2
        reached = auroc(score, _probability(score, slope, prevalence))
        if reached is not None and reached < best_auc:
            low = slope
        else:
            high = slope
    probability = _probability(score, (low + high) / 2, prevalence)
    order = np.argsort(probability, kind="stable")
    steps = np.floor(np.cumsum(probability[order]) + rng.uniform())
    label = np.zeros(len(score), dtype=np.int64)
    label[order] = np.diff(steps, prepend=0.0) >= 1
    return probability, label
