"""Federated averaging: the mean of the clinics' models, weighted by their training examples.

McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS 2017,
https://arxiv.org/abs/1602.05629, algorithm 1.
"""

from typing import ClassVar

from embryofl_server.federation.strategies.base import Aggregation, Round, State, StrategySettings
from embryofl_server.federation.strategies.blocks import shares, weighted_mean


class FedAvg:
    """See `embryofl_server.federation.strategies.base.Strategy`."""

    NAME: ClassVar[str] = "fedavg"
    SETTINGS: ClassVar[type[StrategySettings]] = StrategySettings
    min_updates = 1

    def __init__(self, settings: StrategySettings) -> None:
        pass

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The mean weighted by examples."""
        weights = [float(u.examples) for u in round_.updates]
        return Aggregation(weighted_mean(round_, weights), shares=shares(round_.updates, weights))
