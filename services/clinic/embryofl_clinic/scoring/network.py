"""A finished run's model, ready to score: the network that its card names, with its weights."""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from embryofl import packing, wire
from embryofl.errors import UserError
from embryofl.models import model_names
from embryofl.models.zoo import create_model
from embryofl_clinic.scoring.model_store import Card, StoredModel


class Network:
    """One model.

    Parameters
    ----------
    stored : StoredModel
    device : str (default: "cpu")

    Raises
    ------
    UserError
        When this version does not have the network, or the weights have another layout or are not finite.
    """

    def __init__(self, stored: StoredModel, device: str = "cpu") -> None:
        self.card: Card = stored.card
        self.device = device
        self.model: nn.Module = _built(stored).to(device).eval()
        # Once outside inference mode: `lite0_head` then reads its backbone, whose weights heat maps need gradients through.
        with torch.no_grad():
            self.model(torch.zeros(1, 3, self.image_size, self.image_size, device=device))

    @property
    def image_size(self) -> int:
        """Side of the squares that it takes, in pixels."""
        return self.card.settings.image_size

    def logits(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Images, uint8 (n, s, s, 3), to logits, float64 (n,)."""
        with torch.inference_mode():
            images = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device).permute(0, 3, 1, 2)
            return np.asarray(self.model(images).double().cpu().numpy())


def hidden_networks(model: nn.Module) -> list[nn.Module]:
    """Networks that a model keeps out of its own weights: `lite0_head` keeps its frozen backbone in a list."""
    return [m for value in vars(model).values() if isinstance(value, list) for m in value if isinstance(m, nn.Module)]


def _built(stored: StoredModel) -> nn.Module:
    card, packed = stored.card, stored.packed()
    name = card.settings.model
    if name not in model_names():
        raise UserError(
            "M2",
            f"The model of {card.run} is a {name[:40]!r}, which this version does not know. It knows "
            f"{', '.join(model_names())}. Update this program.",
        )
    model = create_model(name, grades=bool(card.settings.grades))
    layout = packing.layout_of(model.state_dict())
    if wire.Layout.parse(packed.data).id != layout.id:
        raise UserError(
            "M2",
            f"The weights of {card.run} have another layout than the {name} of this version ({layout.parameters:,} "
            "numbers). Expected a model trained by the same version: update the older of hub and clinic.",
        )
    packing.load(packed, layout, model.state_dict())
    if not packing.is_finite(packed, layout):
        raise UserError("M2", f"The weights of {card.run} contain numbers that are not finite. The model is unusable.")
    return model


def load_networks(models: list[StoredModel], device: str = "cpu") -> list[Network]:
    """Several models of one task, such as the same run with several seeds.

    Raises
    ------
    UserError
        When their labels have different meanings, or one cannot be used.
    """
    meanings = sorted({m.card.settings.meaning for m in models})
    if len(meanings) > 1:
        raise UserError(
            "M2",
            f"Label 1 does not mean the same for all these models: {' and '.join(meanings)}. Expected one meaning. Score "
            "with each model separately.",
        )
    return [Network(m, device) for m in models]
