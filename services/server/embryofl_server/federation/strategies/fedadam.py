"""Adam at the server, on the clinics' mean update.

Reddi et al., "Adaptive Federated Optimization", ICLR 2021, https://arxiv.org/abs/2003.00295, algorithm 2 (FedAdam).
"""

import numpy as np
from pydantic import Field

from embryofl_server.federation.strategies.base import register
from embryofl_server.federation.strategies.server_optimiser import AdaptiveOptimiser, AdaptiveSettings


class FedAdamSettings(AdaptiveSettings):
    """`beta_2`: of the squared update."""

    beta_2: float = Field(default=0.99, ge=0, lt=1)


@register
class FedAdam(AdaptiveOptimiser[FedAdamSettings]):
    SETTINGS = FedAdamSettings

    def grow(self, second: np.ndarray, squared: np.ndarray) -> None:
        """The second moment is a decaying mean of the squared update."""
        second *= self._settings.beta_2
        second += (1 - self._settings.beta_2) * squared
