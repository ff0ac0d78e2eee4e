"""An embryo has no up, so the network sees each image in four positions, and its features are averaged.

The embryo is the same in all four, and what differs is noise: AUROC on other patients improves by 0.003 to 0.008
(`bench/quality`), for four times the work of scoring an image.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

TURNS = 4
"""Quarter turns, including none."""


def over_turns(give: Callable[[Tensor], Tensor], images: Tensor, turns: int) -> Tensor:
    """Mean of `give(images)` over this many positions of images (n, c, s, s), a quarter turn apart: (n, ...).

    One position at a time, so that four need no more memory than one.
    """
    total = give(images)
    for turn in range(1, turns):
        total = total + give(torch.rot90(images, turn, (2, 3)))
    return total / turns


@contextlib.contextmanager
def upright(model: nn.Module) -> Iterator[None]:
    """Inside the block, the model sees each image in its original position only: for heat maps."""
    before = getattr(model, "turns", None)
    if before is None:
        yield
        return
    model.turns = 1  # type: ignore[assignment]
    try:
        yield
    finally:
        model.turns = before
