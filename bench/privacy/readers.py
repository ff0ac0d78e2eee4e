"""How a hub reads of an update how far it moves a model towards a picture that the hub has."""

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from embryofl.models.rotations import upright
from embryofl_data.dataset import ImageExamples
from kits.label_attack import Aims, Floats, Pictures

PUBLIC = 16
"""Of the hub's own pictures, from which it learns how long the numbers of a gradient are."""
LONGEST = 4.0
"""Such numbers are cut at this multiple."""


class Reader(ABC):
    """One number for each picture and update."""

    name: str

    @abstractmethod
    def see(self, model: nn.Module) -> None:
        """Look at the model that the clinics of the next round begin with."""

    @abstractmethod
    def read(self, update: Tensor) -> Floats:
        """Of an update (floats,), in the order of the model's parameters: (pictures,)."""


class HeadReader(Reader):
    """Along the picture's features in the last layer, without what other pictures have in common: those of the network that
    the run begins with.

    Parameters
    ----------
    world : Pictures
    embeddings : ndarray of float32, (pictures, 1280)
    """

    name = "last layer, features as the run begins"

    def __init__(self, world: Pictures, embeddings: npt.NDArray[np.float32]) -> None:
        aims = Aims(world)
        self._directions = np.stack([aims.head("alone", e)[0] for e in embeddings.astype(np.float64)])

    def see(self, model: nn.Module) -> None:
        """See `Reader`. Its directions stay."""

    def read(self, update: Tensor) -> Floats:
        """See `Reader`."""
        read: Floats = self._directions @ update[-1281:-1].double().numpy()
        return read


class GradientReader(Reader):
    """Along the gradient of the picture's logit by the weights of the round's model, each number in units of its usual size
    (as AdamW's steps are), without what the hub's own pictures have in common.

    Parameters
    ----------
    images : ImageExamples
        One picture each of all embryos.
    pictures, public : ndarray of int64
        The pictures in question, and the hub's own.
    last : bool
        Of the last layer alone, where the gradient is the picture's features; else of the whole network, which takes most
        of the time of a run.
    """

    def __init__(
        self, images: ImageExamples, pictures: npt.NDArray[np.int64], public: npt.NDArray[np.int64], *, last: bool
    ) -> None:
        self._images, self._pictures, self._public = images, pictures, public[:PUBLIC]
        self._last, self._directions = last, torch.zeros(0)
        self.name = "last layer, features of the round" if last else "whole network"

    def see(self, model: nn.Module) -> None:
        """See `Reader`."""
        members = np.concatenate([self._pictures, self._public])
        self._directions = self._towards(torch.stack([self._gradient(model, member) for member in members]))

    def _gradient(self, model: nn.Module, member: int) -> Tensor:
        """Of the logit of one picture, as a hub can compute it: (numbers,)."""
        model.eval()
        weights = [*model.parameters()]
        pixels = torch.from_numpy(np.array(self._images.pixels[self._images.rows[[member]]]))
        with upright(model):
            logit = model(pixels.permute(0, 3, 1, 2)).sum()
        gradients = torch.autograd.grad(logit, weights[-2:-1] if self._last else weights)
        return torch.cat([gradient.reshape(-1) for gradient in gradients])

    def _towards(self, gradients: Tensor) -> Tensor:
        """From gradients of the pictures and then of the hub's own, (n, numbers), which are changed: (pictures, numbers) of
        length 1."""
        count = len(self._pictures)
        size = gradients[count:].square().mean(dim=0).sqrt_()
        scaled = gradients.div_(size.clamp_(min=float(size.max()) * 1e-6)).clamp_(-LONGEST, LONGEST)
        wanted, own = scaled[:count], scaled[count:]
        shared = own @ own.T
        floor = torch.linalg.eigvalsh(shared.double()).median().float()
        wanted -= torch.linalg.solve(shared + floor * torch.eye(len(own)), own @ wanted.T).T @ own
        return wanted.div_(wanted.norm(dim=1, keepdim=True))

    def read(self, update: Tensor) -> Floats:
        """See `Reader`."""
        read: Floats = (self._directions @ (update[-1281:-1] if self._last else update)).double().numpy()
        return read
