"""Adam at the server, on the clinics' mean update.

Reddi et al., "Adaptive Federated Optimization", ICLR 2021, https://arxiv.org/abs/2003.00295, algorithm 2 (FedAdam).
"""

from typing import ClassVar

import numpy as np
from pydantic import Field

from embryofl_server.federation.strategies.base import Aggregation, Round, State, StrategySettings
from embryofl_server.federation.strategies.server_optimiser import AdaptiveSettings, adapt


class FedAdamSettings(AdaptiveSettings):
    """`beta_2`: of the squared update."""

    beta_2: float = Field(default=0.99, ge=0, lt=1)


class FedAdam:
    """See `embryofl_server.federation.strategies.base.Strategy`."""

    NAME: ClassVar[str] = "fedadam"
    SETTINGS: ClassVar[type[StrategySettings]] = FedAdamSettings
    min_updates = 1

    def __init__(self, settings: FedAdamSettings) -> None:
        self._settings = settings

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The second moment is a decaying mean of the squared update."""
        beta = self._settings.beta_2

        def grow(second: np.ndarray, squared: np.ndarray) -> None:
            second *= beta
            second += (1 - beta) * squared

        return adapt(round_, state, self._settings, grow)
