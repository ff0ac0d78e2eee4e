"""Aggregation strategies by name, one file each of the same shape.

A strategy is a class with `NAME`, `LEAST_CLINICS`, and the methods of `Strategy`. It sees one update at a time, as a
checked file, and never holds more than one model and its own state.
"""

from pathlib import Path
from typing import Protocol

import numpy as np

from embryofl.errors import UserError
from embryofl.wire import Layout
from embryofl_server.strategies.fedavg import FedAvg


class Strategy(Protocol):
    """One round's aggregation."""

    NAME: str
    LEAST_CLINICS: int

    def __init__(self, layout: Layout, order: list[str]) -> None: ...

    def add(self, name: str, update: Path, examples: int) -> None:
        """Take a clinic's checked update."""

    def skip(self, name: str) -> None:
        """A clinic that was asked does not contribute."""

    def result(self) -> np.ndarray:
        """The new global model, packed."""


_KNOWN: dict[str, type[Strategy]] = {cls.NAME: cls for cls in (FedAvg,)}


def strategy_names() -> list[str]:
    """The strategies that exist."""
    return sorted(_KNOWN)


def strategy(name: str) -> type[Strategy]:
    """The strategy called `name`; `UserError` naming those that exist."""
    if name not in _KNOWN:
        raise UserError(f"There is no strategy {name!r}. Choose one of: {', '.join(strategy_names())}.")
    return _KNOWN[name]
