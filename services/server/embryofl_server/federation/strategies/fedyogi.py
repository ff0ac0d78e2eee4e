"""Yogi at the server, on the clinics' mean update: the second moment changes slowly, also downwards.

Reddi et al., "Adaptive Federated Optimization", ICLR 2021, https://arxiv.org/abs/2003.00295, algorithm 2 (FedYogi).
"""

import numpy as np

from embryofl_server.federation.strategies.base import register
from embryofl_server.federation.strategies.fedadam import FedAdamSettings
from embryofl_server.federation.strategies.server_optimiser import AdaptiveOptimiser


@register
class FedYogi(AdaptiveOptimiser[FedAdamSettings]):
    SETTINGS = FedAdamSettings

    def grow(self, second: np.ndarray, squared: np.ndarray) -> None:
        """The second moment moves towards the squared update by a part of the latter."""
        second -= (1 - self._settings.beta_2) * squared * np.sign(second - squared)
