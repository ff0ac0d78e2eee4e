"""Norm-clipped federated averaging: no clinic moves the model further than a bound, and then the mean by examples.

Sun et al., "Can You Really Backdoor Federated Learning?", 2019, https://arxiv.org/abs/1911.07963, section 4 (norm
thresholding, without the noise). Without a bound of one's own the round's median norm is taken, as in Nguyen et al.,
"FLAME: Taming Backdoors in Federated Learning", USENIX Security 2022, https://arxiv.org/abs/2101.02281, algorithm 1.
"""

from dataclasses import replace
from typing import ClassVar

import numpy as np
from pydantic import Field

from embryofl_server.federation.strategies.base import Aggregation, Round, State, StrategySettings
from embryofl_server.federation.strategies.blocks import shares, weighted_mean


class ClippedFedAvgSettings(StrategySettings):
    """`max_norm`: longest update that counts whole (Euclidean); 0 takes the median norm of each round."""

    max_norm: float = Field(default=0.0, ge=0)


class ClippedFedAvg:
    """See `embryofl_server.federation.strategies.base.Strategy`. The median norm of fewer than three says nothing."""

    NAME: ClassVar[str] = "clipped_fedavg"
    SETTINGS: ClassVar[type[StrategySettings]] = ClippedFedAvgSettings

    def __init__(self, settings: ClippedFedAvgSettings) -> None:
        self._max_norm = settings.max_norm

    @property
    def min_updates(self) -> int:
        """Three, or one where the bound is given."""
        return 1 if self._max_norm else 3

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """Longer updates are shortened to the bound, then averaged by examples."""
        bound = self._max_norm or float(np.median([u.counted_norm for u in round_.updates]))
        updates = [replace(u, scale=u.scale * min(1.0, bound / (u.counted_norm or 1.0))) for u in round_.updates]
        weights = [float(u.examples) for u in updates]
        return Aggregation(weighted_mean(replace(round_, updates=updates), weights), shares=shares(updates, weights))
