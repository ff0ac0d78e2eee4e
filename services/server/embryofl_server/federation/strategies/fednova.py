"""FedNova: a clinic that made more local steps does not pull the model further towards itself for that.

Wang et al., "Tackling the Objective Inconsistency Problem in Heterogeneous Federated Optimization", NeurIPS 2020,
https://arxiv.org/abs/2007.07481, equation 6 with tau_eff = sum of p_i tau_i. `Update.steps` is the paper's norm of a_i.
"""

from dataclasses import replace
from typing import ClassVar

from embryofl_server.federation.strategies.base import Aggregation, Round, State, StrategySettings
from embryofl_server.federation.strategies.blocks import shares, weighted_mean


class FedNova:
    """See `embryofl_server.federation.strategies.base.Strategy`."""

    NAME: ClassVar[str] = "fednova"
    SETTINGS: ClassVar[type[StrategySettings]] = StrategySettings
    min_updates = 1

    def __init__(self, settings: StrategySettings) -> None:
        pass

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The mean, by examples, of the updates per step, times the mean number of steps."""
        weights = [float(u.examples) for u in round_.updates]
        steps = sum(w * u.steps for w, u in zip(weights, round_.updates, strict=True)) / sum(weights)
        updates = [replace(u, scale=u.scale * steps / u.steps) for u in round_.updates]
        by_step = [w / u.steps for w, u in zip(weights, updates, strict=True)]
        return Aggregation(weighted_mean(replace(round_, updates=updates), weights), shares=shares(updates, by_step))
