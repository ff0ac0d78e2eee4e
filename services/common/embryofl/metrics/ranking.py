"""How well a clinic's embryos are ranked within one patient's cohort: computed at the clinic, released as sums.

A cohort is what an embryologist chooses from: the embryos of one patient on one day. Only mixed cohorts, with both labels
in them, say anything about ranking; the others do not count. An embryo with several images counts once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from embryofl.metrics.bins import FloatArray, IntArray
from embryofl.metrics.form import Count, SignedSum, Sum

DIGITS = 2
"""Decimals of released sums: with more, single cohorts could be computed from them."""


@dataclass(frozen=True)
class RankingSums:
    """Sums over cohorts.

    Attributes
    ----------
    cohorts, embryos : int
        Mixed cohorts, and their embryos.
    top, chance : float
        Cohorts whose highest score belongs to a positive (of equal scores a share), and how many there would be if the
        order were random.
    ndcg, ndcg_squared : float
        Normalised discounted cumulative gain of the whole order, with the label as gain (Järvelin and Kekäläinen, ACM
        TOIS 20, 2002); equal scores get their mean gain.
    tau, tau_squared : float
        Kendall's tau-b of scores and labels; 0 where all scores are equal.
    critical : int
        Cohorts in which a negative is ranked above every positive.
    withheld : int
        Clinics (of merged sums) that had too few cohorts to release.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    cohorts: Count = 0
    embryos: Count = 0
    top: Sum = 0.0
    chance: Sum = 0.0
    ndcg: Sum = 0.0
    ndcg_squared: Sum = 0.0
    tau: SignedSum = 0.0
    tau_squared: Sum = 0.0
    critical: Count = 0
    withheld: Count = 0

    def __add__(self, other: RankingSums) -> RankingSums:
        return RankingSums(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def suppress(self, minimum: int) -> RankingSums:
        """What may leave a clinic: nothing of fewer than `minimum` cohorts, and sums of `DIGITS` decimals."""
        if self.cohorts and self.cohorts < minimum:
            return RankingSums(withheld=self.withheld + 1)
        return RankingSums(*(round(getattr(self, f.name), DIGITS) for f in fields(self)))

    def check(self, embryos: int) -> None:
        """Raise `ValueError` unless cohorts of a day with this many embryos can have these sums."""
        if not 2 * self.cohorts <= self.embryos <= embryos or (self.embryos and not self.cohorts):
            raise ValueError(f"expected at least two embryos in each cohort, and at most {embryos} in all")
        means = (self.top, self.chance, self.ndcg, self.ndcg_squared, abs(self.tau), self.tau_squared)
        if max(*means, self.critical) > self.cohorts:
            raise ValueError(f"expected sums over {self.cohorts} cohorts, each at most 1")


def rank_cohorts(scores: FloatArray, labels: IntArray, cohorts: IntArray) -> RankingSums:
    """Sum over the cohorts of embryos.

    Parameters
    ----------
    scores : ndarray of float64, (n,)
    labels : ndarray of int64, (n,)
        0 or 1.
    cohorts : ndarray of int64, (n,)
        Number of the embryo's cohort; below 0 = unknown.
    """
    total = RankingSums()
    for cohort in np.unique(cohorts[cohorts >= 0]).tolist():
        members = cohorts == cohort
        if len(set(labels[members].tolist())) == 2:
            total = total + _rank(scores[members], labels[members])
    return total


def _rank(scores: FloatArray, labels: IntArray) -> RankingSums:
    """A mixed cohort, (k,) each."""
    positives, negatives = scores[labels == 1], scores[labels == 0]
    at_top = labels[scores == scores.max()]
    ndcg, tau = _ndcg(scores, labels), _tau(positives, negatives, scores)
    return RankingSums(
        1,
        len(scores),
        float(at_top.mean()),
        float(labels.mean()),
        ndcg,
        ndcg**2,
        tau,
        tau**2,
        int(negatives.max() > positives.max()),
    )


def _ndcg(scores: FloatArray, labels: IntArray) -> float:
    discount = 1 / np.log2(np.arange(len(scores)) + 2)
    _, group, sizes = np.unique(-scores, return_inverse=True, return_counts=True)
    gains = np.bincount(group, weights=labels) / sizes  # mean gain of equal scores, highest first
    ends = np.cumsum(sizes)
    covered = np.concatenate([[0.0], np.cumsum(discount)])
    gain = gains @ (covered[ends] - covered[ends - sizes])
    return float(gain / discount[: int(labels.sum())].sum())


def _tau(positives: FloatArray, negatives: FloatArray, scores: FloatArray) -> float:
    """Kendall's tau-b with a label of two values: only pairs of a positive and a negative count."""
    difference: npt.NDArray[np.float64] = np.sign(positives[:, None] - negatives[None, :])
    n = len(scores)
    _, sizes = np.unique(scores, return_counts=True)
    untied = n * (n - 1) / 2 - (sizes * (sizes - 1) / 2).sum()
    return float(difference.sum() / np.sqrt(untied * len(positives) * len(negatives))) if untied else 0.0
