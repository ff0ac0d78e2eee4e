"""FedNova: a clinic that made more local steps does not pull the model further towards itself for that.

Wang et al., "Tackling the Objective Inconsistency Problem in Heterogeneous Federated Optimization", NeurIPS 2020,
https://arxiv.org/abs/2007.07481, equation 6 with tau_eff = sum of p_i tau_i. The paper's norm of a_i is
`ClinicUpdate.steps`.
"""

from dataclasses import replace

from embryofl_server.federation.strategies.base import Aggregation, Round, State, Strategy, StrategySettings, register
from embryofl_server.federation.strategies.blocks import averaged, shares


@register
class FedNova(Strategy[StrategySettings]):
    sum_weights = "examples_per_step"

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The mean, by examples, of the updates per step, times the mean number of steps."""
        weights, updates = round_.examples, round_.updates
        steps = sum(w * u.steps for w, u in zip(weights, updates, strict=True)) / sum(weights)
        by_step = [w / u.steps for w, u in zip(weights, updates, strict=True)]
        made = averaged(round_.scaled(u.scale * steps / u.steps for u in updates), weights)
        return replace(made, shares=shares(updates, by_step))
