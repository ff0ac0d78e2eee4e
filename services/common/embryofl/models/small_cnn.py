"""A model trained from scratch: small enough for a clinic's CPU, deep enough to see a whole blastocyst."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from embryofl.models.inputs import ContrastInput


class Block(nn.Module):
    """Residual block of two 3x3 convolutions with group normalisation; (n, i, s, s) to (n, o, s/2, s/2).

    He et al., "Identity mappings in deep residual networks" (2016); Wu and He, "Group normalization" (2018).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.first_norm = nn.GroupNorm(outputs // 8, outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = nn.GroupNorm(outputs // 8, outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        return torch.relu(y + self.shortcut(nn.functional.avg_pool2d(x, 2, ceil_mode=True)))


class SmallCNN(nn.Module):
    """Images (n, 3, s, s) with s from 64 to 160 pixels, to logits (n,)."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 96, 128), dropout: float = 0.2) -> None:
        super().__init__()
        self.normalise = ContrastInput()
        self.stem = nn.Conv2d(3, widths[0], 5, stride=2, padding=2, bias=False)
        self.stem_norm = nn.GroupNorm(widths[0] // 8, widths[0])
        self.blocks = nn.Sequential(*(Block(i, o) for i, o in zip(widths, widths[1:], strict=False)))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * widths[-1], 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.normalise(images).contiguous(memory_format=torch.channels_last)  # a fifth faster on a CPU
        x = torch.relu(self.stem_norm(self.stem(x)))
        x = self.blocks(x)
        # The mean measures how much of a texture there is, the maximum whether it is anywhere at all.
        x = torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)  # (n, 2 * widths[-1])
        logits: Tensor = self.head(self.dropout(x))
        return logits.squeeze(1)
