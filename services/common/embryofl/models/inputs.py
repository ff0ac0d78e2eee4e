"""How pixels become the inputs of a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def as_float(images: Tensor) -> Tensor:
    """Images (n, c, s, s): uint8 in 0-255 to float32 in [0, 1]; floats are taken to be in [0, 1] already."""
    return images.float().div(255) if images.dtype == torch.uint8 else images


class ImageNetInput(nn.Module):
    """Normalise by the mean and standard deviation of ImageNet, as torchvision's weights expect."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Not persistent: constants of the code are not weights and do not travel.
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (as_float(images) - self.mean) / self.std


class ContrastInput(nn.Module):
    """Give every image mean 0 and standard deviation 1, over pixels and channels together.

    Removes the brightness and contrast of a clinic's microscope and keeps the relation of the colours.
    """

    def __init__(self, floor: float = 0.02) -> None:
        super().__init__()
        self.floor = floor  # an empty field is not blown up to full contrast

    def forward(self, images: Tensor) -> Tensor:
        pixels = as_float(images)
        mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
        centred = pixels - mean
        std = centred.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        return centred / std.clamp_min(self.floor)
