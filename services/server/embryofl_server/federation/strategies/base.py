"""A strategy, its input and its output. See `embryofl_server.federation.strategies`."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from embryofl.settings import SumWeights
from embryofl.wire import Layout

State = Mapping[str, np.ndarray]
"""What a strategy keeps between rounds: named arrays of dtypes in `embryofl.wire.DTYPES`; empty before round 1."""


class StrategySettings(BaseModel):
    """Settings of a strategy, each with a default. Their names must not be names of `RunSettings`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class ClinicUpdate:
    """A clinic's update that has passed the gate.

    Attributes
    ----------
    clinic : str
    path : Path
        The clinic's packed model, of the run's layout and finite.
    examples : int
        Its weight: training embryos, at most `Clinic.most_embryos`, or fewer because of `share_cap`.
    norm : float
        Euclidean distance from the global model, as sent.
    scale : float
        The update counts as ``model + scale * (sent - model)``: below 1 if the gate has clipped it.
    steps : float
        Weight of the clinic's local steps; see `embryofl.local_work.local_steps`.
    loss : float or None
        Of the global model on the clinic's validation patients; None if withheld.
    travel : float
        Sum of the learning rates of the clinic's local steps; see `embryofl.local_work.local_travel`.
    train_loss : float or None
        Mean loss of the clinic's local training.
    """

    clinic: str
    path: Path
    examples: float
    norm: float
    scale: float = 1.0
    steps: float = 1.0
    loss: float | None = None
    travel: float = 1.0
    train_loss: float | None = None

    @property
    def counted_norm(self) -> float:
        """The norm after the gate's clipping."""
        return self.norm * self.scale


@dataclass(frozen=True)
class Round:
    """A closed round.

    Attributes
    ----------
    number : int
        From 1.
    layout : Layout
    model : ndarray of uint8, (layout.size,)
        The packed global model the clinics began with; must not be changed.
    updates : sequence of ClinicUpdate
        In the order of the clinics' names; at least the strategy's `min_updates`.
    proximal : float
        FedProx's mu that the clinics trained with.
    """

    number: int
    layout: Layout
    model: np.ndarray
    updates: Sequence[ClinicUpdate]
    proximal: float = 0.0

    @property
    def examples(self) -> list[float]:
        """Training embryos of each update, as weights of a mean."""
        return [float(u.examples) for u in self.updates]

    def scaled(self, scales: Iterable[float]) -> "Round":
        """The same round with other scales of the updates."""
        updates = [replace(u, scale=scale) for u, scale in zip(self.updates, scales, strict=True)]
        return replace(self, updates=updates)


@dataclass(frozen=True)
class Aggregation:
    """The outcome of a round.

    Attributes
    ----------
    model : ndarray of uint8, (layout.size,)
        The new packed global model.
    state : State
        For the next round; saved with the checkpoint and restored on resume.
    shares : mapping of str to float
        Each clinic's share of the new model, if it has one; 0 for one that was excluded.
    """

    model: np.ndarray
    state: State = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)


Settings = TypeVar("Settings", bound=StrategySettings)
STRATEGIES: dict[str, type["Strategy[Any]"]] = {}
"""The registered strategies by name."""


class Strategy(ABC, Generic[Settings]):
    """One way of aggregating; an object for each run.

    Attributes
    ----------
    SETTINGS : type of StrategySettings
        Validated when a run is started and stored with it.
    LOCAL : dict
        Defaults of run settings with this strategy: how clinics train for it. If it sets `control`, see `control`.
    LOSSES_NEEDED : bool
        Whether it weighs the clinics by their losses, which then have to be released after every round.
    """

    SETTINGS: ClassVar[type[StrategySettings]] = StrategySettings
    LOCAL: ClassVar[dict[str, Any]] = {}
    LOSSES_NEEDED: ClassVar[bool] = False

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def min_updates(self) -> int:
        """Fewest updates that it aggregates; a run that cannot have them is rejected."""
        return 1

    @property
    def sum_weights(self) -> SumWeights:
        """The weights of the mean that is all it needs of the updates, so that they can be masked. It then aggregates one
        update, this mean. "": it needs each update."""
        return ""

    @property
    def group_weights(self) -> SumWeights:
        """The weights of the means of groups of clinics that it can aggregate in place of single updates, at least
        `min_updates` of them. "": it needs each update, or the mean of all."""
        return ""

    @property
    def longest_update(self) -> float:
        """The norm to which clinics clip masked updates; infinite if the strategy sets none."""
        return math.inf

    @abstractmethod
    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The new model, and the new state. Reads the updates in blocks (`blocks`), holds no more than a few models
        whatever the number of clinics, and depends on nothing but its arguments."""

    def control(self, layout: Layout, state: State, clinic: str) -> np.ndarray | None:
        """A clinic's drift correction (`RunSettings.control`), packed like the model, uint8 (layout.size,); None if 0."""
        return None


def register(cls: type[Strategy[Any]]) -> type[Strategy[Any]]:
    """Make a strategy available by the name of its module."""
    STRATEGIES[cls.__module__.rpartition(".")[2]] = cls
    return cls
