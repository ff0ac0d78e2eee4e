"""How a hub reads of an update how far it moves a model towards a picture that the hub has."""

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from embryofl.models.rotations import upright
from embryofl_data.dataset import ImageExamples
from kits.label_attack import Aims
from kits.pictures import Floats, Pictures

PUBLIC = 16
"""Of the hub's own pictures, from which it learns how long the numbers of a gradient are."""
LONGEST = 4.0
"""Such numbers are cut at this multiple."""
LAST = slice(-1281, -1)
"""Of the numbers of `lite0`, the weights of its last layer."""


class Reader(ABC):
    """One number for each picture and update, in one way or several."""

    names: tuple[str, ...]

    @abstractmethod
    def see(self, model: nn.Module) -> None:
        """Look at the model that the clinics of the next round begin with."""

    @abstractmethod
    def read(self, update: Tensor) -> Floats:
        """Of an update (floats,), in the order of the model's parameters: (ways, pictures)."""


class HeadReader(Reader):
    """Along the picture's features in the last layer, without what other pictures have in common: those of the network that
    the run begins with.

    Parameters
    ----------
    world : Pictures
    embeddings : ndarray of float32, (pictures, features)
    """

    names = ("last layer, features as the run begins",)

    def __init__(self, world: Pictures, embeddings: npt.NDArray[np.float32]) -> None:
        aims = Aims(world)
        self._directions = np.stack([aims.head("alone", e)[0] for e in embeddings.astype(np.float64)])
        self._last = slice(-embeddings.shape[1] - 1, -1)

    def see(self, model: nn.Module) -> None:
        """See `Reader`. Its directions stay."""

    def read(self, update: Tensor) -> Floats:
        """See `Reader`."""
        read: Floats = self._directions @ update[self._last].double().numpy()
        return read[None]


class GradientReader(Reader):
    """Along the gradient of the picture's logit by the weights of the round's model, each number in units of its usual size
    (as AdamW's steps are), without what the hub's own pictures have in common: of the last layer, where the gradient is the
    picture's features, and of the whole network.

    Parameters
    ----------
    images : ImageExamples
        One picture each of all embryos.
    pictures, public : ndarray of int64
        The pictures in question, and the hub's own.
    """

    names = ("last layer, features of the round", "whole network")

    def __init__(self, images: ImageExamples, pictures: npt.NDArray[np.int64], public: npt.NDArray[np.int64]) -> None:
        members = np.concatenate([pictures, public[:PUBLIC]])
        self._pixels = torch.from_numpy(images.pixels[images.rows[members]]).permute(0, 3, 1, 2)
        self._count, self._last, self._all = len(pictures), torch.zeros(0), torch.zeros(0)

    def see(self, model: nn.Module) -> None:
        """See `Reader`."""
        model.eval()
        gradients = torch.stack([_gradient(model, pixels[None]) for pixels in self._pixels])
        self._last, self._all = _towards(gradients[:, LAST].clone(), self._count), _towards(gradients, self._count)

    def read(self, update: Tensor) -> Floats:
        """See `Reader`."""
        return torch.stack([self._last @ update[LAST], self._all @ update]).double().numpy()


def _gradient(model: nn.Module, pixels: Tensor) -> Tensor:
    """Of the logit of one picture, as a hub can compute it: (numbers,)."""
    with upright(model):
        logit = model(pixels).sum()
    return torch.cat([gradient.reshape(-1) for gradient in torch.autograd.grad(logit, [*model.parameters()])])


def _towards(gradients: Tensor, count: int) -> Tensor:
    """From gradients of so many pictures and then of the hub's own, (n, numbers), which are changed: (count, numbers) of
    length 1."""
    size = gradients[count:].square().mean(dim=0).sqrt_()
    scaled = gradients.div_(size.clamp_(min=float(size.max()) * 1e-6)).clamp_(-LONGEST, LONGEST)
    wanted, own = scaled[:count], scaled[count:]
    shared = own @ own.T
    floor = torch.linalg.eigvalsh(shared.double()).median().float()
    wanted -= torch.linalg.solve(shared + floor * torch.eye(len(own)), own @ wanted.T).T @ own
    return wanted.div_(wanted.norm(dim=1, keepdim=True))
