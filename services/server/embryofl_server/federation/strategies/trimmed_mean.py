"""Coordinate-wise trimmed mean: the highest and lowest values of each number are dropped. Examples do not count.

Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", ICML 2018,
https://arxiv.org/abs/1803.01498, definition 2. Holds against as many clinics as are dropped at each end.
"""

import math

import numpy as np
from pydantic import Field

from embryofl_server.federation.strategies.base import Aggregation, Round, State, Strategy, StrategySettings, register
from embryofl_server.federation.strategies.blocks import Block, combine


class TrimmedMeanSettings(StrategySettings):
    """`trim`: share of the clinics dropped at each end, rounded up, so always at least one."""

    trim: float = Field(default=0.2, gt=0, lt=0.5)


def trimmed(clinics: int, trim: float) -> int:
    """How many of this many clinics are dropped at each end; at least one stays."""
    return min(math.ceil(trim * clinics - 1e-9), (clinics - 1) // 2)


@register
class TrimmedMean(Strategy[TrimmedMeanSettings]):
    SETTINGS = TrimmedMeanSettings
    min_updates = 3
    group_weights = "examples"

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The mean of what remains of every coordinate."""
        clinics = len(round_.updates)
        out = trimmed(clinics, self._settings.trim)

        def mean(block: Block) -> np.ndarray:
            block.updates.sort(axis=0)
            return np.asarray(block.updates[out : clinics - out].mean(axis=0))

        return Aggregation(combine(round_, mean))
