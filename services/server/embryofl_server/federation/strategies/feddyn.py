"""FedDyn: each clinic's loss gets a linear and a quadratic term, so that the clinics' optima meet at the federation's.

Acar et al., "Federated Learning Based on Dynamic Regularization", ICLR 2021, https://arxiv.org/abs/2111.04263, algorithm 1.
A clinic minimises L_k(theta) - <g_k, theta> + alpha / 2 |theta - theta_sent|^2; then g_k becomes g_k - alpha (theta_k -
theta_sent), and the new model is the mean of the theta_k less h / alpha, where h is the mean of the g_k (the paper's h is
the same sum, kept by itself). Means are weighted by examples, over the clinics that have taken part so far. alpha is the
run's `proximal`: the quadratic term is FedProx's. Who keeps what, and what it costs: `variates`.
"""

from typing import Any, ClassVar

import numpy as np

from embryofl.errors import UserError
from embryofl.wire import Layout
from embryofl_server.federation.strategies.base import Aggregation, Round, State, StrategySettings
from embryofl_server.federation.strategies.blocks import Block, shares
from embryofl_server.federation.strategies.variates import Variates, aggregate


class FedDyn:
    """See `embryofl_server.federation.strategies.base.Strategy`. `LOCAL`: how its clinics train."""

    NAME: ClassVar[str] = "feddyn"
    SETTINGS: ClassVar[type[StrategySettings]] = StrategySettings
    LOCAL: ClassVar[dict[str, Any]] = {"control": "gradients", "proximal": 0.01}
    min_updates = 1

    def __init__(self, settings: StrategySettings) -> None:
        pass

    def control(self, layout: Layout, state: State, clinic: str) -> np.ndarray | None:
        """-g_k, packed: what is added to the gradient; None for a clinic that has none yet."""
        kept = Variates(state, layout)
        return kept.packed(layout, lambda here: -kept.at(clinic, here)) if clinic in kept.vectors else None

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The mean by examples less h / alpha, and each clinic's new linear term."""
        alpha, kept = round_.proximal, Variates(state, round_.layout)
        if not alpha > 0:
            raise UserError("Strategy feddyn divides by its alpha, which is the run's proximal: set it above 0.")

        def change(block: Block, here: slice, row: int) -> np.ndarray:
            clinic = round_.updates[row].clinic
            return np.asarray(kept.at(clinic, here) - alpha * (block.updates[row] - block.model))

        def join(block: Block, average: np.ndarray, after: Variates, here: slice) -> np.ndarray:
            return np.asarray(average - after.mean_at(here) / alpha)

        model, new = aggregate(round_, kept, change, join)
        return Aggregation(model, new, shares(round_.updates, [float(u.examples) for u in round_.updates]))
