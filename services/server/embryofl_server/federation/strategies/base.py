"""What a strategy is given and what it gives back. See `embryofl_server.federation.strategies`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel, ConfigDict

from embryofl.wire import Layout

State = Mapping[str, np.ndarray]
"""What a strategy keeps from round to round: named arrays of dtypes in `embryofl.wire.DTYPES`; empty before round 1."""


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
        Training examples, at most what the clinic enrolled.
    norm : float
        Euclidean distance from the global model, as sent.
    scale : float
        The update counts as ``model + scale * (sent - model)``: below 1 where the gate has clipped it.
    steps : float
        What the clinic's local steps weigh together; see `local_work.local_steps`.
    loss : float or None
        Of the global model on the clinic's validation patients; None where the clinic withholds it.
    travel : float
        Sum of the learning rates of the clinic's local steps; see `local_work.local_travel`.
    train_loss : float or None
        Mean loss of the clinic's local training.
    """

    clinic: str
    path: Path
    examples: int
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
    """One round that has closed.

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


@dataclass(frozen=True)
class Aggregation:
    """What a strategy made of a round.

    Attributes
    ----------
    model : ndarray of uint8, (layout.size,)
        The new packed global model.
    state : State
        For the next round; saved with the checkpoint and given back after a resume.
    shares : mapping of str to float
        What part of the new model each clinic has, where that can be said; 0 for one that was left out.
    """

    model: np.ndarray
    state: State = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)


class Strategy(Protocol):
    """One way of aggregating; an object for each run.

    Attributes
    ----------
    NAME : str
        As in the run's settings.
    SETTINGS : type of StrategySettings
        What it can be set to; validated when a run is started and stored with it.

    A class may have `LOCAL`: run settings that it takes where none are given, which is how clinics train for it. Where that
    says `control`, the class has a method `control`, see `Steering`.
    """

    NAME: ClassVar[str]
    SETTINGS: ClassVar[type[StrategySettings]]

    def __init__(self, settings: Any) -> None: ...

    @property
    def min_updates(self) -> int:
        """Fewer updates than this it does not aggregate; a run that cannot have them is refused."""

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The new model, and the new state. Reads the updates in blocks (`blocks`), holds no more than a few models
        whatever the number of clinics, and depends on nothing but its arguments."""


@runtime_checkable
class Steering(Protocol):
    """A strategy that steers the clinics' steps (`RunSettings.control`)."""

    def control(self, layout: Layout, state: State, clinic: str) -> np.ndarray | None:
        """What a clinic is sent beside the model, packed like it, uint8 (layout.size,); None where that is 0."""
