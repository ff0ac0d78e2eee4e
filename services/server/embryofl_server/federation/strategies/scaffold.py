"""SCAFFOLD: control variates correct each clinic's steps for what drives it away from the others.

Karimireddy et al., "SCAFFOLD: Stochastic Controlled Averaging for Federated Learning", ICML 2020,
https://arxiv.org/abs/1910.06378, algorithm 1 with option II: a clinic's steps are y - eta (g + c - c_i), and afterwards
c_i becomes c_i - c + (x - y_i) / (K eta). c is the mean of the c_i, here weighted by examples as the model is, over the
clinics that have taken part so far. With an optimiser other than plain SGD the variates are those of its steps, not of
gradients (`embryofl.task.StepCorrection`), for which the same identities hold. Who keeps what, and at what
cost: `variates`.
"""

from collections.abc import Callable

import numpy as np
from pydantic import Field

from embryofl_server.federation.strategies.base import Round, StrategySettings, register
from embryofl_server.federation.strategies.blocks import Block
from embryofl_server.federation.strategies.variates import CorrectingStrategy, Variates


class ScaffoldSettings(StrategySettings):
    """`global_learning_rate`: the paper's eta_g; 1 takes the mean of the clinics' models."""

    global_learning_rate: float = Field(default=1.0, gt=0, le=100)


@register
class Scaffold(CorrectingStrategy[ScaffoldSettings]):
    SETTINGS = ScaffoldSettings
    LOCAL = {"control": "steps"}

    def correction(self, variates: Variates, clinic: str) -> Callable[[slice], np.ndarray] | None:
        """c - c_i; none before there are any."""
        if not variates.vectors:
            return None
        return lambda place: variates.mean_at(place) - variates.at(clinic, place)

    def change(self, round_: Round, before: Variates, block: Block, place: slice, number: int) -> np.ndarray:
        """c_i - c + (x - y_i) / (K eta)."""
        u = round_.updates[number]
        step = (block.model - block.updates[number]) / u.travel
        return np.asarray(before.at(u.clinic, place) - before.mean_at(place) + step)

    def join(self, round_: Round, after: Variates, block: Block, place: slice, average: np.ndarray) -> np.ndarray:
        """The mean by examples, at eta_g."""
        rate = self._settings.global_learning_rate
        return average if rate == 1 else block.model + rate * (average - block.model)
