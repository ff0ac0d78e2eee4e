"""Norm-clipped federated averaging: no clinic moves the model further than a bound, and then the mean by examples.

Sun et al., "Can You Really Backdoor Federated Learning?", 2019, https://arxiv.org/abs/1911.07963, section 4 (norm
thresholding, without the noise). Without a bound of one's own the round's median norm is taken, as in Nguyen et al.,
"FLAME: Taming Backdoors in Federated Learning", USENIX Security 2022, https://arxiv.org/abs/2101.02281, algorithm 1.
"""

import math

import numpy as np
from pydantic import Field

from embryofl.settings import SumWeights
from embryofl_server.federation.strategies.base import Aggregation, Round, State, Strategy, StrategySettings, register
from embryofl_server.federation.strategies.blocks import averaged


class ClippedFedAvgSettings(StrategySettings):
    """`max_norm`: longest update that is not scaled down (Euclidean); 0 uses the median norm of each round."""

    max_norm: float = Field(default=0.0, ge=0)


@register
class ClippedFedAvg(Strategy[ClippedFedAvgSettings]):
    SETTINGS = ClippedFedAvgSettings

    @property
    def min_updates(self) -> int:
        """One if the bound is given, else three: the median norm of fewer says nothing."""
        return 1 if self._settings.max_norm else 3

    @property
    def sum_weights(self) -> SumWeights:
        """By examples if the bound is given: each clinic can clip its own update to that, but knows no median."""
        return "examples" if self._settings.max_norm else ""

    @property
    def longest_update(self) -> float:
        """The bound, if it is given."""
        return self._settings.max_norm or math.inf

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """Longer updates are scaled down to the bound, then averaged by examples."""
        bound = self._settings.max_norm or float(np.median([u.counted_norm for u in round_.updates]))
        scales = (u.scale * min(1.0, bound / (u.counted_norm or 1.0)) for u in round_.updates)
        return averaged(round_.scaled(scales), round_.examples)
