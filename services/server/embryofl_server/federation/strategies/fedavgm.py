"""Federated averaging with momentum at the server.

Hsu, Qi and Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification", 2019,
https://arxiv.org/abs/1909.06335, section 4.3.
"""

from typing import ClassVar

import numpy as np
from pydantic import Field

from embryofl_server.federation.strategies.base import Aggregation, Round, State, StrategySettings
from embryofl_server.federation.strategies.server_optimiser import Moments, optimise


class FedAvgMSettings(StrategySettings):
    """`momentum`: the paper's beta. `server_learning_rate`: 1 adds the whole mean update."""

    momentum: float = Field(default=0.5, ge=0, lt=1)
    server_learning_rate: float = Field(default=1.0, gt=0, le=100)


class FedAvgM:
    """See `embryofl_server.federation.strategies.base.Strategy`."""

    NAME: ClassVar[str] = "fedavgm"
    SETTINGS: ClassVar[type[StrategySettings]] = FedAvgMSettings
    min_updates = 1

    def __init__(self, settings: FedAvgMSettings) -> None:
        self._settings = settings

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The model moves by the decaying sum of the mean updates so far."""
        settings = self._settings

        def step(update: np.ndarray, moments: Moments) -> np.ndarray:
            velocity = moments["velocity"]
            velocity *= settings.momentum
            velocity += update
            return settings.server_learning_rate * velocity

        return optimise(round_, state, {"velocity": 0.0}, step)
