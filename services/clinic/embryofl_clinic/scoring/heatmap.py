"""Where in an image a score came from: HiResCAM, as a colour-blind safe overlay.

Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks" (2020),
https://arxiv.org/abs/2011.08891: at a convolutional layer, activation times gradient of the logit, summed over channels.
Orange raised the score, blue lowered it. It illustrates what this model responded to; it proves nothing about an embryo.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from embryofl.models.rotations import upright
from embryofl_clinic.scoring.network import hidden_networks

CELLS = 16
"""The last layer with a cell per this many pixels is used: fine enough to point, deep enough to be meaningful."""
RAISED, LOWERED = (230, 97, 1), (41, 98, 180)
"""Orange and blue: distinguishable with every common colour vision deficiency."""
STRONGEST = 0.75
"""Opacity where a map is strongest."""
SHOWN = 0.15
"""Nothing is painted below this share of the strongest value."""

Floats = npt.NDArray[np.float32]


def heat_maps(model: torch.nn.Module, pixels: npt.NDArray[np.uint8], device: str = "cpu") -> list[Floats]:
    """Signed maps of some images, float32 (h, w) each of a few cells, scaled so that the strongest is 1 or -1.

    Parameters
    ----------
    model : torch.nn.Module
        Images (n, 3, s, s) to logits (n,), in evaluation mode.
    pixels : numpy.ndarray
        uint8 (n, s, s, 3).
    device : str (default: "cpu")
    """
    images = torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2)
    kept: list[torch.Tensor] = []

    def keep_output(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        kept[:] = [output.detach().requires_grad_()]
        return kept[0].clone()  # a network may write into what it is given

    with upright(model):
        handle = _layer(model, images[:1]).register_forward_hook(keep_output)
        try:
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(model(images).sum(), kept[0])
        finally:
            handle.remove()
    maps = (kept[0] * gradient).sum(dim=1).detach().float().cpu().numpy()
    return [values / (np.abs(values).max() or 1) for values in maps]


def _layer(model: torch.nn.Module, image: torch.Tensor) -> torch.nn.Module:
    """The last module to run whose output is a map of enough cells."""
    maps: list[torch.nn.Module] = []
    least = max(2, image.shape[-1] // CELLS)

    def note(module: torch.nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == 4 and min(output.shape[-2:]) >= least:
            maps.append(module)

    modules = [*model.modules(), *(m for part in hidden_networks(model) for m in part.modules())]
    handles = [module.register_forward_hook(note) for module in modules]
    try:
        with torch.inference_mode():
            model(image)
    finally:
        for handle in handles:
            handle.remove()
    ran = [m for m in maps if sum(1 for other in maps if other is m) == 1]  # one that runs twice has two outputs
    return ran[-1]


def overlay(pixels: npt.NDArray[np.uint8], heat: Floats) -> Image.Image:
    """Paint a map over an image.

    Parameters
    ----------
    pixels : numpy.ndarray
        uint8 (s, s, 3).
    heat : numpy.ndarray
        float32 (h, w), from -1 to 1.
    """
    side = (pixels.shape[1], pixels.shape[0])
    wide = np.asarray(Image.fromarray(heat).resize(side, Image.Resampling.BICUBIC))
    strength = np.clip((np.abs(wide) - SHOWN) / (1 - SHOWN), 0, 1)[..., None] * STRONGEST
    colour = np.where(wide[..., None] > 0, np.array(RAISED, np.float32), np.array(LOWERED, np.float32))
    grey = pixels.mean(axis=2, keepdims=True)  # so that the only colours are those of the map
    return Image.fromarray(np.clip(grey * (1 - strength) + colour * strength, 0, 255).astype(np.uint8))
