"""Federated averaging: the mean of the clinics' models, weighted by their training examples.

McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS 2017,
https://arxiv.org/abs/1602.05629, algorithm 1.
"""

from embryofl_server.federation.strategies.base import Aggregation, Round, State, Strategy, StrategySettings, register
from embryofl_server.federation.strategies.blocks import averaged


@register
class FedAvg(Strategy[StrategySettings]):
    sum_weights = "examples"

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The mean weighted by examples."""
        return averaged(round_, round_.examples)
