"""The clinic's part of an audit: how well its training patients can be told from the others, as sums over patients."""

from collections.abc import Mapping
from typing import Protocol, get_args

import numpy as np

from embryofl.metrics import FloatArray, IntArray, ScoreSums
from embryofl.pooled_metrics import AUDITED_AS, by_attack
from embryofl.pooled_metrics import Split as Slot
from embryofl_clinic.policy.questions import About, Split
from embryofl_clinic.policy.told import numbers_told
from embryofl_clinic.privacy.attacks import Attacked, attack, unscored
from embryofl_clinic.privacy.canaries import Canaries

AUDITED: tuple[Split, ...] = get_args(Split)
MEMBERS = "train"
"""The split whose patients were trained on."""


class Embryos(Protocol):
    """The embryos of a split, such as those of a `Workload`, in the order of their scores."""

    def ids(self, split: str) -> list[str]:
        """See `Workload`."""

    def patients(self, split: str) -> IntArray:
        """See `Workload`."""

    def features(self, split: str) -> FloatArray | None:
        """See `Workload`."""


def audit_sums(embryos: Embryos, about: About, seed: int | None) -> dict[str, ScoreSums]:
    """Sums over patients for each attack, in the slots of `AUDITED_AS`.

    Parameters
    ----------
    embryos : Embryos
    about : About
        The embryos that the answer is about, with the model's scores.
    seed : int or None
        Of the attacks. None: the patients are counted, and nothing is attacked.
    """
    attacked = _attacked(embryos, about)
    scored = unscored(attacked) if seed is None else attack(attacked, seed)
    return {AUDITED_AS[name][0]: patients.sums() for name, patients in scored.items()}


def guess_sums(canaries: Canaries | None, head: FloatArray | None) -> dict[str, ScoreSums]:
    """Guesses of canaries, all in one bin, label 1 where they are right, in the slot of `AUDITED_AS`.

    They are of nobody: the policy's `min_cell` is not meant for them, and would withhold what is nearly all right.

    Parameters
    ----------
    canaries : Canaries or None
        None: the run had none.
    head : ndarray of float64, (d + 1,), or None
        None: they are counted, and nothing is guessed.
    """
    if canaries is None:
        return {}
    slot, day = AUDITED_AS["canaries"]
    right, wrong = canaries.guessed(np.zeros(canaries.features.shape[1] + 1) if head is None else head)
    labels = np.repeat([1, 0], [right, wrong])
    return {slot: ScoreSums.from_scores(np.full(len(labels), 0.5), labels, np.full(len(labels), day))}


def _attacked(embryos: Embryos, about: About) -> Attacked:
    scores, labels, patients, members, features = [], [], [], [], []
    first = 0
    for split, scored in about.scored.items():
        kept = numbers_told(embryos.ids(split), about.told.get(split, {}), len(embryos.patients(split)))
        owners, here = np.unique(embryos.patients(split)[kept], return_inverse=True)
        patients.append(here + first)
        members.append(np.full(len(owners), split == MEMBERS))
        scores.append(scored.scores)
        labels.append(scored.labels)
        features.append(_rows(embryos.features(split), kept))
        first += len(owners)
    known = [rows for rows in features if rows is not None]
    return Attacked(
        np.concatenate(scores),
        np.concatenate(labels),
        np.concatenate(patients),
        np.concatenate(members),
        np.concatenate(known) if len(known) == len(features) else None,
    )


def _rows(features: FloatArray | None, kept: list[int]) -> FloatArray | None:
    return None if features is None else features[kept]


def counts_of(sums: Mapping[Slot, ScoreSums]) -> dict[str, dict[str, object]]:
    """Pooled sums by attack, as a reply has them."""
    return {name: one.to_dict() for name, one in by_attack(sums).items()}
