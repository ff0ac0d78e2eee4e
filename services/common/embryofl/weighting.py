"""Weights from how losses change: FedEmbryo's hierarchical dynamic weighting adaptation, of clinics and of tasks.

See `embryofl_server.strategies.fedembryo` for the paper. The formula is that of dynamic weight averaging: Liu, Johns and
Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019, https://arxiv.org/abs/1803.10704, equation 7.
"""

import math
from collections.abc import Mapping, Sequence

TEMPERATURE = 4.0


def loss_ratio_weights(ratios: Sequence[float], temperature: float = TEMPERATURE) -> list[float]:
    """Softmax of the ratios (newer loss over older) divided by the temperature; sum 1, equal where the ratios are."""
    highest = max(ratios)
    raised = [math.exp((r - highest) / temperature) for r in ratios]
    return [r / sum(raised) for r in raised]


def task_weights(
    older: Mapping[str, float], newer: Mapping[str, float], temperature: float = TEMPERATURE
) -> dict[str, float]:
    """Weights of a clinic's tasks in a local epoch, mean 1.

    Parameters
    ----------
    older, newer : mapping of str to float
        Loss of each task in the epoch before the last and in the last one; a task that has none (no label for it) or none
        yet counts as one whose loss has not changed.
    """
    names = sorted({*older, *newer})
    known = {n: newer.get(n, 0.0) > 0 and older.get(n, 0.0) > 0 for n in names}
    weights = loss_ratio_weights([newer[n] / older[n] if known[n] else 1.0 for n in names], temperature)
    return {n: w * len(names) for n, w in zip(names, weights, strict=True)}
