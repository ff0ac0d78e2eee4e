"""Models on EfficientNet-Lite0: only a linear head is trained, the last block, most of the network, or all of it.

A small clinic cannot train a backbone from scratch, so all start from ImageNet weights. Frozen layers are not part of the
state dict: every clinic loads them from the same file, and they do not travel.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as nnf

from embryofl.models.lite import FEATURES, WEIGHTS_SHA256, EfficientNetLite0, frozen_lite0, lite0_input
from embryofl.models.rotations import TURNS, over_turns

PROJECTED = 16
PROJECTION = Path(__file__).with_name("lite0_16.safetensors")
"""Mean of the features, float32 (1280,), and axes, float32 (16, 1280); `bench/quality/projection.py` has made it."""


class Lite0Head(nn.Module):
    """Images (n, 3, s, s), or their embeddings (n, 1280), to logits (n,).

    Every image goes through the frozen backbone once and is kept as one embedding. A round of training on embeddings takes
    milliseconds, and its update a few kilobytes.
    """

    EMBEDDING = f"lite0-{WEIGHTS_SHA256[:8]}-1"  # the last number is raised when `embed` computes something else

    def __init__(self, features: int = FEATURES) -> None:
        super().__init__()
        self.head = _blank_head(features)
        self._backbone: list[EfficientNetLite0] = []  # in a list: not a submodule; read when first needed

    def embed(self, images: Tensor) -> Tensor:
        """Images (n, 3, s, s), uint8 or float in [0, 1], to float32 embeddings (n, 1280) of mean 0 and variance 1."""
        if not self._backbone:
            self._backbone.append(frozen_lite0())
        return _normalised(_moved(self._backbone[0], images.device)(images))

    def forward(self, inputs: Tensor) -> Tensor:
        embeddings = self.embed(inputs) if inputs.ndim == 4 else inputs
        logits: Tensor = self.head(embeddings)
        return logits.squeeze(1)


class Lite0Projected(Lite0Head):
    """Images (n, 3, s, s), or their embeddings (n, 16), to logits (n,).

    The features are projected onto axes learned from drawn embryos. The fewer numbers an update has, the less noise of
    differential privacy it takes to hide a patient in it.
    """

    EMBEDDING = f"{Lite0Head.EMBEDDING}-16-1"  # the last number is raised when `PROJECTION` changes

    def __init__(self) -> None:
        super().__init__(PROJECTED)
        stored = load_file(PROJECTION)
        self._mean: Tensor
        self._axes: Tensor
        self.register_buffer("_mean", stored["mean"], persistent=False)
        self.register_buffer("_axes", stored["axes"], persistent=False)

    def embed(self, images: Tensor) -> Tensor:
        """Images (n, 3, s, s), uint8 or float in [0, 1], to float32 embeddings (n, 16)."""
        return (super().embed(images) - self._mean) @ self._axes.T


class Lite0(nn.Module):
    """Images (n, 3, s, s) to logits (n,).

    Parameters
    ----------
    frozen : int (default: `EDGES`)
        How many of the 18 layers (stem, 16 blocks, last convolution) are not trained.
    dropout : float (default: 0.2)
    """

    EDGES, LAST = 6, 16
    """`EDGES`: the stem and the first five blocks, which see edges and textures. `LAST`: all up to the last block."""

    def __init__(self, frozen: int = EDGES, dropout: float = 0.2) -> None:
        super().__init__()
        layers = frozen_lite0().layers
        self._front = [layers[:frozen]]  # in a list: not a submodule
        self.back = layers[frozen:].requires_grad_(requires_grad=True)
        self.dropout = nn.Dropout(dropout)
        self.head = _blank_head()
        self.turns = TURNS

    def forward(self, images: Tensor) -> Tensor:
        # In training every image has a random position anyway (`embryofl.transforms`).
        features = over_turns(self._features, images, 1 if self.training else self.turns)
        logits: Tensor = self.head(self.dropout(features))
        return logits.squeeze(1)

    def _features(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            x = _moved(self._front[0], images.device)(lite0_input(images))
        return _normalised(self.back(x).mean(dim=(2, 3)))


def _moved(network: nn.Module, device: torch.device) -> nn.Module:
    """The frozen network, moved to the device only if it is elsewhere: `torch.export` cannot follow a move."""
    if any(weight.device != device for weight in network.parameters()):
        network.to(device)
    return network


def _blank_head(features: int = FEATURES) -> nn.Linear:
    """All zero: every score starts at one half, with no preferred direction."""
    head = nn.Linear(features, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _normalised(features: Tensor) -> Tensor:
    """Each image's own features to mean 0 and variance 1: removes what lamp and contrast do to all of them alike."""
    return nnf.layer_norm(features, (FEATURES,))
