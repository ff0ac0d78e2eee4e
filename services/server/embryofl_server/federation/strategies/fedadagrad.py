"""Adagrad at the server, on the clinics' mean update: the steps only become shorter.

Reddi et al., "Adaptive Federated Optimization", ICLR 2021, https://arxiv.org/abs/2003.00295, algorithm 2 (FedAdagrad).
"""

import numpy as np

from embryofl_server.federation.strategies.base import register
from embryofl_server.federation.strategies.server_optimiser import AdaptiveOptimiser, AdaptiveSettings


@register
class FedAdagrad(AdaptiveOptimiser[AdaptiveSettings]):
    SETTINGS = AdaptiveSettings

    def grow(self, second: np.ndarray, squared: np.ndarray) -> None:
        """The second moment is the sum of the squared updates."""
        second += squared
