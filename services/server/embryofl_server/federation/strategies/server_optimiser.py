"""One step of an optimiser at the server, with the clinics' mean update instead of a gradient.

Reddi et al., "Adaptive Federated Optimization", ICLR 2021, https://arxiv.org/abs/2003.00295, algorithm 2 (with the
clinics weighted by their examples). The moments' start is not corrected, as in the paper. The optimiser's moments, a
float32 for each number of the model and each moment, are part of the checkpoint: a resumed run continues with the same
bits.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from pydantic import Field

from embryofl_server.federation.strategies.base import Aggregation, Round, Settings, State, Strategy, StrategySettings
from embryofl_server.federation.strategies.blocks import Block, combine, mean, shares

Moments = Mapping[str, np.ndarray]


class AdaptiveSettings(StrategySettings):
    """`server_learning_rate`: the paper's eta. `beta_1`: of the mean update. `tau`: how much of the adaptivity is used:
    the smaller, the more alike are the steps of all numbers of the model."""

    server_learning_rate: float = Field(default=1e-3, gt=0, le=100)
    beta_1: float = Field(default=0.9, ge=0, lt=1)
    tau: float = Field(default=1e-3, gt=0, le=1)


class ServerOptimiser(Strategy[Settings]):
    """The model moves by a step that follows from the mean update and from moments that are kept between rounds."""

    sum_weights = "examples"

    @abstractmethod
    def starts(self) -> Mapping[str, float]:
        """The moments' names and initial values."""

    @abstractmethod
    def step(self, update: np.ndarray, moments: Moments) -> np.ndarray:
        """From the mean update, float64 (k,), and the moments, float64 (k,) each, which are updated in place, to what is
        added to the model, float64 (k,)."""

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The new model after one step; integer tensors (counters) take the mean."""
        weights, count = round_.examples, round_.layout.floats
        moments = {
            name: np.array(state[name]) if name in state else np.full(count, start, np.float32)
            for name, start in self.starts().items()
        }

        def new(block: Block) -> np.ndarray:
            average, place = mean(block.updates, weights), block.floats
            if place is None:
                return average
            wide = {name: moment[place].astype(np.float64) for name, moment in moments.items()}
            moved: np.ndarray = block.model + self.step(average - block.model, wide)
            for name, moment in moments.items():
                moment[place] = wide[name]
            return moved

        return Aggregation(combine(round_, new), moments, shares(round_.updates, weights))


Adaptive = TypeVar("Adaptive", bound=AdaptiveSettings)


class AdaptiveOptimiser(ServerOptimiser[Adaptive]):
    """A step that is shorter where updates were long."""

    @abstractmethod
    def grow(self, second: np.ndarray, squared: np.ndarray) -> None:
        """Update the second moment, float64 (k,), in place from the squared mean update, float64 (k,)."""

    def starts(self) -> Mapping[str, float]:
        """First and second moment."""
        return {"first": 0.0, "second": self._settings.tau**2}

    def step(self, update: np.ndarray, moments: Moments) -> np.ndarray:
        """See `ServerOptimiser`."""
        settings, first, second = self._settings, moments["first"], moments["second"]
        first *= settings.beta_1
        first += (1 - settings.beta_1) * update
        self.grow(second, update * update)
        return np.asarray(settings.server_learning_rate * first / (np.sqrt(second) + settings.tau))
