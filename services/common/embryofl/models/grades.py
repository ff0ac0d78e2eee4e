"""A further head on any model of the zoo: the steps of the Gardner grades (`embryofl.gardner`), from the same features.

What the model gives as it is called stays one logit an image, so that whoever scores with it need not know of the grades.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from embryofl.gardner import COLUMNS, STEPS, Target


def add_grades(model: nn.Module) -> None:
    """Give a model the head `grades`, (STEPS, d) and (STEPS,), all zero: every step begins at one half."""
    head = nn.Linear(_last(model).in_features, STEPS)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    model.grades = head


def with_grades(model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of the label (n,), and of the grades' steps (n, STEPS), of a model that `add_grades` has seen."""
    features: list[Tensor] = []
    hook = _last(model).register_forward_pre_hook(lambda _, args: features.append(args[0]))
    try:
        logits = model(inputs)
    finally:
        hook.remove()
    return logits, model.get_submodule("grades")(features[0])


def grade_losses(logits: Tensor, steps: Tensor) -> dict[Target, tuple[Tensor, int, float]]:
    """Of each target with known steps: mean binary cross entropy over these, (), how many they are, and their share of all.

    The losses times their shares add up to the mean over all known steps. Empty where none is known: then there is no
    gradient either, so that the optimiser leaves the head alone.

    Parameters
    ----------
    logits, steps : torch.Tensor
        (n, STEPS); a step is 1, 0 or NaN.
    """
    known = ~torch.isnan(steps)
    total = int(known.sum())
    found: dict[Target, tuple[Tensor, int, float]] = {}
    for target, columns in COLUMNS.items():
        here = known[:, columns]
        count = int(here.sum())
        if count:
            loss = nn.functional.binary_cross_entropy_with_logits(logits[:, columns][here], steps[:, columns][here])
            found[target] = loss, count, count / total
    return found


def _last(model: nn.Module) -> nn.Linear:
    """The layer that makes the label's logit."""
    return [m for name, m in model.named_modules() if isinstance(m, nn.Linear) and name != "grades"][-1]
