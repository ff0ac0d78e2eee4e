"""Coordinate-wise median: each number of the new model is the median of the clinics' numbers. Examples do not count.

Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", ICML 2018,
https://arxiv.org/abs/1803.01498, definition 1. Holds against fewer than half of the clinics.
"""

import numpy as np

from embryofl_server.federation.strategies.base import Aggregation, Round, State, Strategy, StrategySettings, register
from embryofl_server.federation.strategies.blocks import combine


@register
class CoordinateMedian(Strategy[StrategySettings]):
    """The median of two is their mean: one attacker would have half."""

    min_updates = 3
    group_weights = "examples"

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The median of every coordinate; of an even number of clinics the mean of the middle two."""
        return Aggregation(combine(round_, lambda block: np.median(block.updates, axis=0)))
