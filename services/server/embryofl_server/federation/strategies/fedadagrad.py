"""Adagrad at the server, on the clinics' mean update: the steps only become shorter.

Reddi et al., "Adaptive Federated Optimization", ICLR 2021, https://arxiv.org/abs/2003.00295, algorithm 2 (FedAdagrad).
"""

from typing import ClassVar

import numpy as np

from embryofl_server.federation.strategies.base import Aggregation, Round, State, StrategySettings
from embryofl_server.federation.strategies.server_optimiser import AdaptiveSettings, adapt


class FedAdagrad:
    """See `embryofl_server.federation.strategies.base.Strategy`."""

    NAME: ClassVar[str] = "fedadagrad"
    SETTINGS: ClassVar[type[StrategySettings]] = AdaptiveSettings
    min_updates = 1

    def __init__(self, settings: AdaptiveSettings) -> None:
        self._settings = settings

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The second moment is the sum of the squared updates."""

        def grow(second: np.ndarray, squared: np.ndarray) -> None:
            second += squared

        return adapt(round_, state, self._settings, grow)
