"""FedDyn: each clinic's loss gets a linear and a quadratic term, so that the clinics' optima meet at the federation's.

Acar et al., "Federated Learning Based on Dynamic Regularization", ICLR 2021, https://arxiv.org/abs/2111.04263, algorithm 1.
A clinic minimises L_k(theta) - <g_k, theta> + alpha / 2 |theta - theta_sent|^2; then g_k becomes g_k - alpha (theta_k -
theta_sent), and the new model is the mean of the theta_k less h / alpha, where h is the mean of the g_k (the paper's h is
the same sum, kept by itself). Means are weighted by examples, over the clinics that have taken part so far. alpha is the
run's `proximal` (above 0: `run_settings`): the quadratic term is FedProx's. Who keeps what, and at what cost: `variates`.
"""

from collections.abc import Callable

import numpy as np

from embryofl_server.federation.strategies.base import Round, StrategySettings, register
from embryofl_server.federation.strategies.blocks import Block
from embryofl_server.federation.strategies.variates import CorrectingStrategy, Variates


@register
class FedDyn(CorrectingStrategy[StrategySettings]):
    LOCAL = {"control": "gradients", "proximal": 0.01}

    def correction(self, variates: Variates, clinic: str) -> Callable[[slice], np.ndarray] | None:
        """-g_k, which is added to the gradient; none for a clinic that has none yet."""
        return (lambda place: -variates.at(clinic, place)) if clinic in variates.vectors else None

    def change(self, round_: Round, before: Variates, block: Block, place: slice, number: int) -> np.ndarray:
        """g_k - alpha (theta_k - theta_sent)."""
        moved = block.updates[number] - block.model
        return np.asarray(before.at(round_.updates[number].clinic, place) - round_.proximal * moved)

    def join(self, round_: Round, after: Variates, block: Block, place: slice, average: np.ndarray) -> np.ndarray:
        """The mean by examples less h / alpha."""
        return np.asarray(average - after.mean_at(place) / round_.proximal)
