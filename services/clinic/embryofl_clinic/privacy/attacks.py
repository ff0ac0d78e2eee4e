"""Attacks on a model by a clinic that knows whom it was trained on: each patient gets a score, higher for "was trained on".

A clinic attacks with all that it has: its own images and labels. What leaves of it are counts (`embryofl.pooled_metrics`).

* ``loss``: how well the model fits the patient. Yeom et al., "Privacy Risk in Machine Learning: Analyzing the Connection to
  Overfitting", CSF 2018.
* ``rmia``: how much better than reference models, each trained on half of the clinic's patients, compared with the same of
  patients who were not trained on. Zarifzadeh, Liu and Shokri, "Low-Cost High-Power Membership Inference Attacks", ICML
  2024. Reference models are logistic regressions on the features of a frozen network.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embryofl.metrics import FloatArray, IntArray, ScoredEmbryos
from embryofl.privacy.membership import Attack

FLOOR = 1e-4  # of the chance that a model gives to a label: one embryo does not decide about a patient
REFERENCES = 16
RIDGE = 1.0  # of a reference model, for features of variance 1
_STEPS = 12  # of Newton's method: the last one changes nothing in print


@dataclass(frozen=True)
class Attacked:
    """Embryos of members and of other patients.

    Attributes
    ----------
    scores : ndarray of float64, (n,)
        The model's.
    labels, patients : ndarray of int64, (n,)
        Patients have numbers from 0 without gaps.
    members : ndarray of bool, (m,)
        Of each patient, whether it was trained on.
    features : ndarray of float64, (n, d), or None
        Of a frozen network below the model, if it has one.
    """

    scores: FloatArray
    labels: IntArray
    patients: IntArray
    members: npt.NDArray[np.bool_]
    features: FloatArray | None = None

    @property
    def usable(self) -> bool:
        """Whether there are members and others."""
        return bool(self.members.any() and not self.members.all())


def unscored(attacked: Attacked) -> dict[Attack, ScoredEmbryos]:
    """What `attack` returns, each score 0.5: how many patients there are, and nothing of the model."""
    attacks: list[Attack] = ["loss"] if attacked.features is None else ["loss", "rmia"]
    return {name: _scored(np.full(len(attacked.members), 0.5), attacked) for name in attacks if attacked.usable}


def attack(attacked: Attacked, seed: int) -> dict[Attack, ScoredEmbryos]:
    """Each attack's scores of the patients in [0, 1], with label 1 for members; nothing without members or without others.

    Parameters
    ----------
    attacked : Attacked
    seed : int
        Of the halves on which reference models are trained: the same question has the same answer.
    """
    if not attacked.usable:
        return {}
    fit = _fit(attacked.scores, attacked)
    found: dict[Attack, ScoredEmbryos] = {"loss": _scored(np.exp(fit), attacked)}
    if attacked.features is not None:
        references = np.stack([_fit(scores, attacked) for scores in reference_scores(attacked, seed)])
        gain = fit - np.log(np.exp(references).mean(axis=0))
        found["rmia"] = _scored(_exceeded(gain, gain[~attacked.members]), attacked)
    return found


def reference_scores(attacked: Attacked, seed: int) -> FloatArray:
    """Scores of all embryos by models that were trained on a random half of the patients each: float64 (REFERENCES, n)."""
    assert attacked.features is not None
    inputs = attacked.features - attacked.features.mean(axis=0)
    inputs = np.append(inputs / np.maximum(inputs.std(), 1e-9), np.ones((len(inputs), 1)), axis=1)
    kernel = inputs @ inputs.T / inputs.shape[1]
    rng, half = np.random.default_rng(seed), (len(attacked.members) + 1) // 2
    scores = []
    for _ in range(REFERENCES):
        chosen = rng.permutation(len(attacked.members))[:half]
        inside = np.flatnonzero(np.isin(attacked.patients, chosen))
        weights = _regression(kernel[np.ix_(inside, inside)], attacked.labels[inside])
        scores.append(_sigmoid(kernel[:, inside] @ weights))
    return np.stack(scores)


def _regression(kernel: FloatArray, labels: IntArray) -> FloatArray:
    """Logistic regression with a ridge, in the space of the embryos: Newton's method, float64 (n,)."""
    weights: FloatArray = np.zeros(len(labels))
    for _ in range(_STEPS):
        logits = kernel @ weights
        p = _sigmoid(logits)
        spread = np.maximum(p * (1 - p), 1e-6)
        target = logits + (labels - p) / spread
        weights = np.asarray(np.linalg.solve(kernel + RIDGE * np.diag(1 / spread), target), np.float64)
    return weights


def _sigmoid(logits: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))), np.float64)


def _fit(scores: FloatArray, attacked: Attacked) -> FloatArray:
    """The mean log chance that scores give to the labels of each patient's embryos, float64 (m,)."""
    hit = np.clip(np.where(attacked.labels == 1, scores, 1 - scores), FLOOR, 1.0)
    counts = np.bincount(attacked.patients, minlength=len(attacked.members))
    return np.asarray(np.bincount(attacked.patients, np.log(hit), len(attacked.members)) / np.maximum(counts, 1))


def _exceeded(values: FloatArray, others: FloatArray) -> FloatArray:
    """The part of `others` that each value exceeds, those that are equal counted half: float64 (m,)."""
    ordered = np.sort(others)
    below, upto = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return np.asarray((below + upto) / (2 * len(ordered)), np.float64)


def _scored(scores: FloatArray, attacked: Attacked) -> ScoredEmbryos:
    days = np.zeros(len(scores), np.int64)
    return ScoredEmbryos(np.clip(scores, 0.0, 1.0), attacked.members.astype(np.int64), days)
