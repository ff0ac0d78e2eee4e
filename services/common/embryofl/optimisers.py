"""The optimisers of local training: PyTorch's arithmetic, without the compiler that its classes import.

The first optimiser that `torch.optim` makes imports PyTorch's compiler: 800 modules that cost each clinic 2 s of processor
time and memory, for nothing that training uses. The functions that those classes call import nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from embryofl.settings import SGD_MOMENTUM

BETAS = (0.9, 0.999)
EPSILON = 1e-8
"""Of AdamW, as Loshchilov and Hutter (ICLR 2019) have them."""


class Optimiser(ABC):
    """Steps of some parameters against their gradients; those without a gradient stay as they are.

    Norms and biases (parameters with fewer than two dimensions) are not decayed: decay would pull their scale to nothing.

    Attributes
    ----------
    param_groups : list of dict
        What `torch.amp.GradScaler` reads: the parameters, below "params".
    """

    def __init__(self, parameters: Sequence[nn.Parameter], learning_rate: float, weight_decay: float) -> None:
        decayed = [p for p in parameters if p.ndim > 1]
        others = [p for p in parameters if p.ndim <= 1]
        self.param_groups: list[dict[str, Any]] = [
            {"params": decayed, "weight_decay": weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self._rate = learning_rate

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Change the parameters in place."""
        for group in self.param_groups:
            if moved := [p for p in group["params"] if p.grad is not None]:
                self._step(moved, [p.grad for p in moved], group["weight_decay"])

    @abstractmethod
    def _step(self, parameters: list[Tensor], gradients: list[Tensor], weight_decay: float) -> None:
        """Change these parameters, which have these gradients."""


class SGD(Optimiser):
    """Stochastic gradient descent with Nesterov momentum `SGD_MOMENTUM`."""

    def __init__(self, parameters: Sequence[nn.Parameter], learning_rate: float, weight_decay: float) -> None:
        super().__init__(parameters, learning_rate, weight_decay)
        self._buffers: dict[Tensor, Tensor | None] = {}

    def _step(self, parameters: list[Tensor], gradients: list[Tensor], weight_decay: float) -> None:
        buffers = [self._buffers.get(p) for p in parameters]
        sgd(
            parameters,
            gradients,
            buffers,  # filled in place at the first step
            weight_decay=weight_decay,
            momentum=SGD_MOMENTUM,
            lr=self._rate,
            dampening=0.0,
            nesterov=True,
            maximize=False,
        )
        self._buffers.update(zip(parameters, buffers, strict=True))


class AdamW(Optimiser):
    """Adam with decoupled weight decay."""

    def __init__(self, parameters: Sequence[nn.Parameter], learning_rate: float, weight_decay: float) -> None:
        super().__init__(parameters, learning_rate, weight_decay)
        self._moments: dict[Tensor, tuple[Tensor, Tensor, Tensor]] = {}

    def _step(self, parameters: list[Tensor], gradients: list[Tensor], weight_decay: float) -> None:
        for p in parameters:
            if p not in self._moments:
                self._moments[p] = torch.zeros_like(p), torch.zeros_like(p), torch.tensor(0.0)
        means, squares, steps = (list(each) for each in zip(*(self._moments[p] for p in parameters), strict=True))
        adamw(
            parameters,
            gradients,
            means,
            squares,
            [],
            steps,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=self._rate,
            weight_decay=weight_decay,
            eps=EPSILON,
            maximize=False,
        )


OPTIMISERS: dict[str, type[Optimiser]] = {"adamw": AdamW, "sgd": SGD}
"""By the name that the setting `optimiser` has."""
