"""Coordinate-wise trimmed mean: of each number the highest and lowest values are left out. Examples do not count.

Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", ICML 2018,
https://arxiv.org/abs/1803.01498, definition 2. Holds against as many clinics as are left out at each end.
"""

import math
from typing import ClassVar

import numpy as np
from pydantic import Field

from embryofl_server.federation.strategies.base import Aggregation, Round, State, StrategySettings
from embryofl_server.federation.strategies.blocks import Block, combine


class TrimmedMeanSettings(StrategySettings):
    """`trim`: share of the clinics left out at each end, rounded up so that it is always one at least."""

    trim: float = Field(default=0.2, gt=0, lt=0.5)


def trimmed(clinics: int, trim: float) -> int:
    """How many of so many clinics are left out at each end; at least one stays."""
    return min(math.ceil(trim * clinics - 1e-9), (clinics - 1) // 2)


class TrimmedMean:
    """See `embryofl_server.federation.strategies.base.Strategy`."""

    NAME: ClassVar[str] = "trimmed_mean"
    SETTINGS: ClassVar[type[StrategySettings]] = TrimmedMeanSettings
    min_updates = 3

    def __init__(self, settings: TrimmedMeanSettings) -> None:
        self._trim = settings.trim

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The mean of what is left of every coordinate."""
        clinics = len(round_.updates)
        out = trimmed(clinics, self._trim)

        def mean(block: Block) -> np.ndarray:
            block.updates.sort(axis=0)
            return np.asarray(block.updates[out : clinics - out].mean(axis=0))

        return Aggregation(combine(round_, mean))
