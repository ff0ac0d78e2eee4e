"""Federated averaging with momentum at the server.

Hsu, Qi and Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification", 2019,
https://arxiv.org/abs/1909.06335, section 4.3.
"""

from collections.abc import Mapping

import numpy as np
from pydantic import Field

from embryofl_server.federation.strategies.base import StrategySettings, register
from embryofl_server.federation.strategies.server_optimiser import Moments, ServerOptimiser


class FedAvgMSettings(StrategySettings):
    """`momentum`: the paper's beta. `server_learning_rate`: 1 adds the whole mean update."""

    momentum: float = Field(default=0.5, ge=0, lt=1)
    server_learning_rate: float = Field(default=1.0, gt=0, le=100)


@register
class FedAvgM(ServerOptimiser[FedAvgMSettings]):
    SETTINGS = FedAvgMSettings

    def starts(self) -> Mapping[str, float]:
        """The velocity."""
        return {"velocity": 0.0}

    def step(self, update: np.ndarray, moments: Moments) -> np.ndarray:
        """The model moves by the decaying sum of the mean updates so far."""
        velocity = moments["velocity"]
        velocity *= self._settings.momentum
        velocity += update
        return self._settings.server_learning_rate * velocity
