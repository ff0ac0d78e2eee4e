"""A frozen backbone and a linear head: only the head is trained, and only the head travels.

A small clinic cannot train a backbone from nothing. Here every image goes through the backbone once; what is kept of it
is one embedding, and a round of training on embeddings takes milliseconds and a message of kilobytes.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as nnf

from embryofl.models.lite import FEATURES, WEIGHTS_SHA256, EfficientNetLite0, frozen_lite0


class FrozenLite0(nn.Module):
    """Images (n, 3, s, s), or their embeddings (n, 1280), to logits (n,).

    The backbone is no part of the state dict: every clinic has the same one, from the same file.
    """

    EMBEDDING = f"lite0-{WEIGHTS_SHA256[:8]}-1"  # the last number is raised when `embed` computes something else

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(FEATURES, 1)
        # Zero: every score begins at one half, and no direction is preferred before there is evidence for one.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self._backbone: list[EfficientNetLite0] = []  # in a list: not a submodule; read when first needed

    def embed(self, images: Tensor) -> Tensor:
        """Images (n, 3, s, s), uint8 or float in [0, 1], to float32 embeddings (n, 1280) of mean 0 and variance 1.

        Normalising each image's own features takes out what lamp and contrast do to all of them alike.
        """
        if not self._backbone:
            self._backbone.append(frozen_lite0())
        features = self._backbone[0].to(images.device)(images)
        return nnf.layer_norm(features, (FEATURES,))

    def forward(self, inputs: Tensor) -> Tensor:
        embeddings = self.embed(inputs) if inputs.ndim == 4 else inputs
        logits: Tensor = self.head(embeddings)
        return logits.squeeze(1)
