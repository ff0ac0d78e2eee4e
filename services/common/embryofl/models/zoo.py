"""Makes the models: each maps images (n, 3, s, s) to one logit per image (n,)."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from embryofl.errors import UserError
from embryofl.models import FACTS
from embryofl.models import pretrained as weights
from embryofl.models.grades import add_grades
from embryofl.models.lite_models import Lite0, Lite0Head, Lite0Projected
from embryofl.models.small_cnn import SmallCNN

_OWN: dict[str, Callable[[], nn.Module]] = {
    "lite0": Lite0,
    "lite0_head": Lite0Head,
    "lite0_16": Lite0Projected,
    "lite0_last": partial(Lite0, Lite0.LAST),
    "lite0_full": partial(Lite0, 0),
    "small_cnn": SmallCNN,
}


def create_model(name: str, *, pretrained: str = "", seed: int = 0, grades: bool = False) -> nn.Module:
    """Make a model.

    Parameters
    ----------
    name : str
        One of `embryofl.models.model_names`.
    pretrained : str (default: "")
        "" for random weights; "torchvision" for torchvision's ImageNet weights (downloaded, or from its cache below
        ``TORCH_HOME``); else the path of a ``.safetensors``, ``.pth`` or ``.pt`` file, in torchvision's names or as
        EmbryoFL saves models. A head for another number of classes is ignored.
    seed : int (default: 0)
        Random weights depend only on the name and this. PyTorch's global generator is not changed.
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
        If the name is unknown, or the pretrained weights are not available or do not fit.
    """
    if name not in FACTS:
        raise UserError("R1", f"Unknown model {name!r}. Models that exist: {', '.join(FACTS)}.")
    facts = FACTS[name]
    if facts.network:
        from embryofl.models.vision import imagenet_weights, torchvision_model  # see docs/house.toml, late_imports
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = torchvision_model(facts.network, facts.norm) if facts.network else _OWN[name]()
    if pretrained == "torchvision":
        if not facts.network:
            raise UserError(
                "M3",
                f"torchvision has no weights for {name}. Choose one of {', '.join(n for n in FACTS if FACTS[n].network)}, "
                "name a file with weights, or leave 'pretrained' empty.",
            )
        weights.load(model, imagenet_weights(facts.network), "torchvision's weights")
    elif pretrained:
        weights.load(model, weights.from_file(pretrained), pretrained)
    if grades:
        add_grades(model)
    return model.train()
