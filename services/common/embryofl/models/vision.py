"""torchvision's networks with one logit and normalisation layers that can be averaged over clinics."""

from __future__ import annotations

import pickle
import socket

from torch import Tensor, nn
from torchvision import models as zoo
from torchvision.ops.misc import FrozenBatchNorm2d

from embryofl.errors import UserError
from embryofl.models.inputs import ImageNetInput

DOWNLOAD_TIMEOUT_S = 15.0


class VisionModel(nn.Module):
    """Images (n, 3, s, s) to logits (n,); `body` is torchvision's module, so that its weights keep their names."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.normalise = ImageNetInput()
        self.body = body

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.body(self.normalise(images))
        return logits.squeeze(1)


def torchvision_model(name: str, norm: str) -> VisionModel:
    """A torchvision network with random weights and one output.

    Parameters
    ----------
    name : str
        torchvision's name.
    norm : {"group", "frozen"}
        What replaces every BatchNorm. Names and shapes of weight and bias stay the same.
    """
    body = zoo.get_model(name, weights=None, num_classes=1)
    _replace_batch_norm(body, norm)
    return VisionModel(body)


def imagenet_weights(name: str) -> dict[str, Tensor]:
    """ImageNet weights of torchvision's model `name`, from its cache or downloaded.

    Raises
    ------
    UserError
        If they can be neither found nor downloaded.
    """
    weights, before = zoo.get_model_weights(name).DEFAULT, socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(
            "M3",
            f"torchvision's weights for {name} could not be downloaded from {weights.url} ({error}). Expected a way to "
            f"that address, or a file: download it on another machine, mount it, and give its path as 'pretrained'.",
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return state


def groups_for(channels: int) -> int:
    """Number of groups for GroupNorm: the largest power of two up to 32 that leaves at least 4 channels a group."""
    return max(g for g in (1, 2, 4, 8, 16, 32) if channels % g == 0 and (channels // g >= 4 or g == 1))


def _replace_batch_norm(module: nn.Module, norm: str) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            channels = child.num_features
            new = nn.GroupNorm(groups_for(channels), channels) if norm == "group" else FrozenBatchNorm2d(channels)
            setattr(module, name, new)
        else:
            _replace_batch_norm(child, norm)
