"""Weights from how losses change: FedEmbryo's hierarchical dynamic weighting adaptation, of clinics and of tasks.

See `embryofl_server.federation.strategies.fedembryo` for the paper. The formula is that of dynamic weight averaging:
Liu, Johns and Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019,
https://arxiv.org/abs/1803.10704, equation 7.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

TEMPERATURE = 4.0
LABEL = "label"
"""The label as a task; the others are the targets in `embryofl.gardner`."""


def loss_ratio_weights(ratios: Sequence[float], temperature: float = TEMPERATURE) -> list[float]:
    """Softmax of the ratios (newer loss over older) divided by the temperature; sum 1, equal where the ratios are."""
    highest = max(ratios)
    raised = [math.exp((r - highest) / temperature) for r in ratios]
    return [r / sum(raised) for r in raised]


@dataclass(frozen=True)
class TaskLosses:
    """Mean losses of a clinic's tasks in its two newest local epochs, even if a round ended between them.

    (The authors' program starts over in each round. With one or two local epochs a round, it would never weight anything.)

    Attributes
    ----------
    older, newer : mapping of str to float
        Of the epoch before the last and of the last one; empty if there was none.
    temperature : float
    """

    older: Mapping[str, float] = field(default_factory=dict)
    newer: Mapping[str, float] = field(default_factory=dict)
    temperature: float = TEMPERATURE

    def then(self, losses: Mapping[str, float]) -> TaskLosses:
        """After another epoch with these losses."""
        return TaskLosses(self.newer, losses, self.temperature)

    def weights(self) -> dict[str, float]:
        """Weights of the tasks in the next epoch, with mean 1; empty in the first two, where each task counts as 1.

        A task without a loss in one of the two epochs counts as one whose loss has not changed.
        """
        if not (self.older and self.newer):
            return {}
        older, newer, names = self.older, self.newer, sorted({*self.older, *self.newer})
        has_both = {n: newer.get(n, 0.0) > 0 and older.get(n, 0.0) > 0 for n in names}
        weights = loss_ratio_weights([newer[n] / older[n] if has_both[n] else 1.0 for n in names], self.temperature)
        return {n: w * len(names) for n, w in zip(names, weights, strict=True)}


class TaskMeans:
    """The losses of one local epoch, batch by batch, and their weights in it.

    Parameters
    ----------
    tasks : TaskLosses or None
        None: nothing is weighted and no loss is kept.
    """

    def __init__(self, tasks: TaskLosses | None) -> None:
        self._weights = None if tasks is None else tasks.weights()
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def weighted(self, task: str, loss: Tensor, count: int) -> Tensor:
        """A batch's mean loss of a task over `count` labels, times the task's weight."""
        if self._weights is None:
            return loss
        self._sums[task] = self._sums.get(task, 0.0) + loss.item() * count
        self._counts[task] = self._counts.get(task, 0) + count
        return loss * self._weights.get(task, 1.0)

    def means(self) -> dict[str, float]:
        """Mean loss of each task that had a label in this epoch."""
        return {task: self._sums[task] / self._counts[task] for task in self._sums}
