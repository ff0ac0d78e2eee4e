"""An embryo has no up: a network is asked about each image in four positions, and its features are averaged.

What the four have in common is the embryo, and what differs is noise: AUROC on other patients is better by 0.003 to 0.008
(`bench/quality`), for four times the work of scoring an image.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

TURNS = 4
"""Quarter turns, the image as it lies among them."""


def over_turns(give: Callable[[Tensor], Tensor], images: Tensor, turns: int) -> Tensor:
    """The mean of what `give` makes of images (n, c, s, s) in so many positions, a quarter turn apart: (n, ...).

    One position after the other, so that four take no more memory than one.
    """
    total = give(images)
    for turn in range(1, turns):
        total = total + give(torch.rot90(images, turn, (2, 3)))
    return total / turns


@contextlib.contextmanager
def upright(model: nn.Module) -> Iterator[None]:
    """For a while the model looks at each image once, as it lies: for whoever asks where in the image it looks."""
    before = getattr(model, "turns", None)
    if before is None:
        yield
        return
    model.turns = 1  # type: ignore[assignment]
    try:
        yield
    finally:
        model.turns = before
