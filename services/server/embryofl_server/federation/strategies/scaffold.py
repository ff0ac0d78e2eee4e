"""SCAFFOLD: control variates take out of each clinic's steps what drives it away from the others.

Karimireddy et al., "SCAFFOLD: Stochastic Controlled Averaging for Federated Learning", ICML 2020,
https://arxiv.org/abs/1910.06378, algorithm 1 with option II: a clinic's steps are y - eta (g + c - c_i), and afterwards
c_i becomes c_i - c + (x - y_i) / (K eta). c is the mean of the c_i, here weighted by examples as the model is, over the
clinics that have taken part so far. With an optimiser other than plain SGD the variates are those of its steps, not of
gradients (`embryofl.task.StepCorrection`), for which the same identities hold. Who keeps what, and its cost: `variates`.
"""

from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from embryofl.wire import Layout
from embryofl_server.federation.strategies.base import Aggregation, Round, State, StrategySettings
from embryofl_server.federation.strategies.blocks import Block, shares
from embryofl_server.federation.strategies.variates import Variates, aggregate


class ScaffoldSettings(StrategySettings):
    """`global_learning_rate`: the paper's eta_g; 1 takes the mean of the clinics' models."""

    global_learning_rate: float = Field(default=1.0, gt=0, le=100)


class Scaffold:
    """See `embryofl_server.federation.strategies.base.Strategy`. `LOCAL`: how its clinics train."""

    NAME: ClassVar[str] = "scaffold"
    SETTINGS: ClassVar[type[StrategySettings]] = ScaffoldSettings
    LOCAL: ClassVar[dict[str, Any]] = {"control": "steps"}
    min_updates = 1

    def __init__(self, settings: ScaffoldSettings) -> None:
        self._rate = settings.global_learning_rate

    def control(self, layout: Layout, state: State, clinic: str) -> np.ndarray | None:
        """c - c_i, packed; None before there are any."""
        kept = Variates(state, layout)
        if not kept.vectors:
            return None
        return kept.packed(layout, lambda here: kept.mean_at(here) - kept.at(clinic, here))

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The mean by examples, and each clinic's new variate."""
        kept = Variates(state, round_.layout)

        def change(block: Block, here: slice, row: int) -> np.ndarray:
            u = round_.updates[row]
            step = (block.model - block.updates[row]) / u.travel
            return np.asarray(kept.at(u.clinic, here) - kept.mean_at(here) + step)

        def join(block: Block, average: np.ndarray, after: Variates, here: slice) -> np.ndarray:
            return average if self._rate == 1 else block.model + self._rate * (average - block.model)

        model, new = aggregate(round_, kept, change, join)
        return Aggregation(model, new, shares(round_.updates, [float(u.examples) for u in round_.updates]))
