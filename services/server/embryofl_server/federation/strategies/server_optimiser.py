"""One step of an optimiser at the server, with the clinics' mean update in the place of a gradient.

Reddi et al., "Adaptive Federated Optimization", ICLR 2021, https://arxiv.org/abs/2003.00295, algorithm 2 (with the
clinics weighted by their examples). The moments' start is not corrected, as in the paper. What the optimiser keeps, a
float32 for each number of the model and each moment, is part of the checkpoint: a resumed run goes on with the same bits.
"""

from collections.abc import Callable, Mapping

import numpy as np
from pydantic import Field

from embryofl_server.federation.strategies.base import Aggregation, Round, State, StrategySettings
from embryofl_server.federation.strategies.blocks import Block, combine, mean, shares

Moments = Mapping[str, np.ndarray]
Step = Callable[[np.ndarray, Moments], np.ndarray]
"""From the mean update, float64 (k,), and the moments, float64 (k,) each, which it brings up to date in place, to what is
added to the model, float64 (k,)."""


class AdaptiveSettings(StrategySettings):
    """`server_learning_rate`: the paper's eta. `beta_1`: of the mean update. `tau`: how much of the adaptivity is used:
    the smaller, the more alike are the steps of all numbers of the model."""

    server_learning_rate: float = Field(default=1e-3, gt=0, le=100)
    beta_1: float = Field(default=0.9, ge=0, lt=1)
    tau: float = Field(default=1e-3, gt=0, le=1)


def optimise(round_: Round, state: State, starts: Mapping[str, float], step: Step) -> Aggregation:
    """The new model after one step; integer tensors (counters) take the mean.

    Parameters
    ----------
    round_ : Round
    state : State
        Of the round before; empty before the first.
    starts : mapping of str to float
        The moments' names, and with what they begin.
    step : callable
        See `Step`.
    """
    weights = [float(u.examples) for u in round_.updates]
    sizes = [(s.end - s.begin) // s.dtype.itemsize if s.dtype.kind == "f" else 0 for s in round_.layout.sections]
    before = np.cumsum([0, *sizes])  # floating-point numbers before each section
    moments = {
        name: np.array(state[name]) if name in state else np.full(before[-1], start, np.float32)
        for name, start in starts.items()
    }

    def new(block: Block) -> np.ndarray:
        average = mean(block.updates, weights)
        if not sizes[block.section]:
            return average
        at = before[block.section] + block.begin
        here = slice(at, at + average.size)
        wide = {name: moment[here].astype(np.float64) for name, moment in moments.items()}
        moved = block.model + step(average - block.model, wide)
        for name, moment in moments.items():
            moment[here] = wide[name]
        return moved

    return Aggregation(combine(round_, new), moments, shares(round_.updates, weights))


def adapt(
    round_: Round, state: State, settings: AdaptiveSettings, grow: Callable[[np.ndarray, np.ndarray], None]
) -> Aggregation:
    """A step that is shorter where updates were long.

    Parameters
    ----------
    grow : callable
        Brings the second moment, float64 (k,), up to date in place from the squared mean update, float64 (k,).
    """

    def step(update: np.ndarray, moments: Moments) -> np.ndarray:
        first, second = moments["first"], moments["second"]
        first *= settings.beta_1
        first += (1 - settings.beta_1) * update
        grow(second, update * update)
        return np.asarray(settings.server_learning_rate * first / (np.sqrt(second) + settings.tau))

    return optimise(round_, state, {"first": 0.0, "second": settings.tau**2}, step)
