"""AUROC and its differences with intervals by patient, from scores that one machine has (a comparison, no federation).

Patients are drawn with replacement, all embryos of a patient together and the same patients for both models of a
difference: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 8 and 13 (percentile intervals).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Scored:
    """Test embryos and their scores by a model, each array (n,).

    Attributes
    ----------
    scores : ndarray of float64
    labels : ndarray of int64
        0 or 1.
    strata : ndarray of int64
        Two embryos are compared only within a stratum (a day): see `auroc`.
    patients : ndarray of int64
        Number of the patient, from 0.
    """

    scores: np.ndarray
    labels: np.ndarray
    strata: np.ndarray
    patients: np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A value and its interval; NaN if there is none."""

    value: float
    low: float
    high: float


def stack(parts: Sequence[Scored]) -> Scored:
    """Embryos of several clinics together; their patients stay apart."""
    starts = np.cumsum([0, *(int(p.patients.max(initial=-1)) + 1 for p in parts)])
    return Scored(
        np.concatenate([p.scores for p in parts]),
        np.concatenate([p.labels for p in parts]),
        np.concatenate([p.strata for p in parts]),
        np.concatenate([p.patients + start for p, start in zip(parts, starts, strict=False)]),
    )


def auroc(scored: Scored, weights: np.ndarray) -> np.ndarray:
    """The share of pairs of a good and a poor embryo of one stratum that the scores put in the right order (ties half).

    Parameters
    ----------
    weights : ndarray of float64, (draws, patients)
        How often each patient counts.

    Returns
    -------
    ndarray of float64, (draws,)
        NaN where there is no pair.
    """
    right, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    each = weights[:, scored.patients]
    for stratum in np.unique(scored.strata):
        good = np.flatnonzero((scored.strata == stratum) & (scored.labels == 1))
        poor = np.flatnonzero((scored.strata == stratum) & (scored.labels == 0))
        difference = scored.scores[good][:, None] - scored.scores[poor][None, :]
        order = (difference > 0) + 0.5 * (difference == 0)
        right += ((each[:, good] @ order) * each[:, poor]).sum(axis=1)
        pairs += each[:, good].sum(axis=1) * each[:, poor].sum(axis=1)
    return np.asarray(np.divide(right, pairs, out=np.full(len(weights), np.nan), where=pairs > 0))


def draws(patients: int, seed: int) -> np.ndarray:
    """Each patient once, and then `DRAWS` times as many patients drawn with replacement: float64 (1 + DRAWS, patients)."""
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(patients, np.full(patients, 1 / max(patients, 1)), size=DRAWS)
    return np.vstack([np.ones((1, patients)), drawn]).astype(np.float64)


def sampled(folds: Mapping[int, Scored], *, same_patients: bool = False) -> np.ndarray:
    """The mean of the folds' (or seeds') AUROC, as it is and for each draw: float64 (1 + draws,).

    Parameters
    ----------
    folds : mapping of int to Scored
    same_patients : bool (default: False)
        All have the same patients (seeds), and a draw takes the same ones in each. Otherwise (folds), draws are separate.

    Notes
    -----
    Samples of two models over the same embryos come from the same draws, so they may be subtracted.
    """
    seeds = {f: 0 if same_patients else f for f in folds}
    values = [auroc(s, draws(int(s.patients.max(initial=-1)) + 1, seeds[f])) for f, s in sorted(folds.items())]
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(values)
        total = np.where(finite, values, 0).sum(axis=0)
    count = finite.sum(axis=0)
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))


def estimate(samples: np.ndarray) -> Estimate:
    """Value and percentile interval of `sampled`, or of a difference of two."""
    spread = samples[1:][np.isfinite(samples[1:])]
    if not np.isfinite(samples[0]) or not len(spread):
        return Estimate(float(samples[0]), float("nan"), float("nan"))
    low, high = np.quantile(spread, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(samples[0]), float(low), float(high))
