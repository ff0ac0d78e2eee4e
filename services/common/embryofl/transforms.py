"""Augmentation for embryos: how the image would look with another position on the dish, focus or lamp.

An embryo has no up and no side, so rotation is by any angle and with both flips. Brightness and contrast change by the
same gain in all channels, because a microscope does not tint one image and not the next. Every image of a batch gets
its own angle, scale and shift in one sampling of the whole batch: torchvision's v2 transforms draw one set of
parameters for a batch, or cost a call for each image.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as nnf

from embryofl.models.inputs import as_float

SCALE = 0.2
"""Magnification is between ``1 / (1 + SCALE)`` and ``1 + SCALE``."""
SHIFT = 0.08
"""Largest shift along each axis, as a part of the image's side."""
BRIGHTNESS, CONTRAST = 0.1, 0.3
"""Largest change, as a part of full white and of the contrast."""
BLUR = 0.5
"""Probability of a blur; its strength is random up to a Gaussian of 1/64 of the image's side."""


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Change every image of a batch at random.

    Parameters
    ----------
    images : Tensor, (n, 3, s, s)
        uint8, or float in [0, 1].
    generator : torch.Generator
        On the CPU; the result depends only on the images and its state.

    Returns
    -------
    Tensor of float32, (n, 3, s, s)
        In [0, 1], on the device of `images`. Corners are filled by reflection.
    """
    pixels = as_float(images)
    n = len(pixels)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=generator) * (high - low) + low

    angle = uniform(0.0, 2 * math.pi)
    zoom = torch.exp(uniform(-1.0, 1.0) * math.log1p(SCALE))
    flip = (uniform(0.0, 1.0) < 0.5).float() * 2 - 1  # with rotation, one flip gives both
    x, y = uniform(-2 * SHIFT, 2 * SHIFT), uniform(-2 * SHIFT, 2 * SHIFT)  # the side is 2 wide here
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    affine = torch.stack([torch.stack([cos * flip, -sin * flip, x], 1), torch.stack([sin, cos, y], 1)], 1)  # (n, 2, 3)
    gain = 1 + uniform(-CONTRAST, CONTRAST)
    offset = uniform(-BRIGHTNESS, BRIGHTNESS)
    softness = uniform(0.0, 1.0) * (uniform(0.0, 1.0) < BLUR).float()

    grid = nnf.affine_grid(affine.to(pixels.device), list(pixels.shape), align_corners=False)
    pixels = nnf.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    chosen = softness.nonzero().squeeze(1).to(pixels.device)
    if len(chosen):
        size = pixels.shape[-1]
        sharp = pixels[chosen]
        soft = blur(sharp, 2 * (size // 48) + 3, size / 64)
        pixels[chosen] = torch.lerp(sharp, soft, _each(softness[softness > 0], pixels))
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    return ((pixels - mean) * _each(gain, pixels) + mean + _each(offset, pixels)).clamp(0, 1)


def blur(images: Tensor, kernel_size: int, sigma: float) -> Tensor:
    """Gaussian blur of images (n, c, h, w), reflected at the borders.

    The same bits as torchvision's `gaussian_blur`, whose import takes as long as that of PyTorch (2.5 s).
    """
    limit = (kernel_size - 1) / (2 * math.sqrt(2))
    line = torch.linspace(-limit, limit, steps=kernel_size, dtype=images.dtype, device=images.device)
    line = torch.softmax(line.div(sigma).pow(2).neg(), dim=0)
    kernel = (line.unsqueeze(-1) * line).expand(images.shape[1], 1, kernel_size, kernel_size)
    padded = nnf.pad(images, [kernel_size // 2] * 4, mode="reflect")
    return nnf.conv2d(padded, kernel, groups=images.shape[1])


def _each(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1).to(like.device)
