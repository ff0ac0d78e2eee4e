"""A second head on any model of the zoo: the steps of the Gardner grades (`embryofl.gardner`), from the same features.

Called as usual, the model still returns one logit per image, so that scoring does not depend on the grades.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from embryofl.gardner import COLUMNS, STEPS, Target


def add_grades(model: nn.Module) -> None:
    """Give a model the head `grades`, (STEPS, d) and (STEPS,), all zero: every step starts at one half."""
    head = nn.Linear(_last(model).in_features, STEPS)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    model.grades = head


def with_grades(model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of the label (n,), and of the grades' steps (n, STEPS), of a model with the head that `add_grades` adds."""
    features: list[Tensor] = []
    hook = _last(model).register_forward_pre_hook(lambda _, args: features.append(args[0]))
    try:
        logits = model(inputs)
    finally:
        hook.remove()
    return logits, model.get_submodule("grades")(features[0])


def grade_losses(logits: Tensor, steps: Tensor) -> dict[Target, tuple[Tensor, int, float]]:
    """Per target with known steps: their mean binary cross entropy, (), their number, and their share of all known steps.

    The losses times their shares add up to the mean over all known steps. Empty if none is known: without a gradient, the
    optimiser does not change the head.

    Parameters
    ----------
    logits, steps : torch.Tensor
        (n, STEPS); a step is 1, 0 or NaN.
    """
    known = ~torch.isnan(steps)
    total = int(known.sum())
    losses: dict[Target, tuple[Tensor, int, float]] = {}
    for target, columns in COLUMNS.items():
        of_target = known[:, columns]
        count = int(of_target.sum())
        if count:
            loss = nn.functional.binary_cross_entropy_with_logits(
                logits[:, columns][of_target], steps[:, columns][of_target]
            )
            losses[target] = loss, count, count / total
    return losses


def _last(model: nn.Module) -> nn.Linear:
    """The layer that computes the label's logit."""
    return [m for name, m in model.named_modules() if isinstance(m, nn.Linear) and name != "grades"][-1]
