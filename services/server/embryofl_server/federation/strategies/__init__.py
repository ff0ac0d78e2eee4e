"""Aggregation strategies by name, one file each of the same shape: a class as `base.Strategy` describes.

To add one, write its file and put its class into `_KNOWN`. A strategy sees the updates of a closed round as files that
have passed the gate, reads them in blocks, and returns a new model, its own state for the next round (momentum and the
like, as named arrays) and what part each clinic has. It keeps nothing in memory between rounds, so that a run that is
taken up again goes on from the checkpoint with the same bits.
"""

from typing import Any

from pydantic import ValidationError

from embryofl.errors import UserError
from embryofl.schema import explain
from embryofl.settings import RunSettings
from embryofl_server.federation.strategies.base import (
    Aggregation,
    ClinicUpdate,
    Round,
    State,
    Steering,
    Strategy,
    StrategySettings,
)
from embryofl_server.federation.strategies.clipped_fedavg import ClippedFedAvg
from embryofl_server.federation.strategies.ditto import Ditto
from embryofl_server.federation.strategies.fedadagrad import FedAdagrad
from embryofl_server.federation.strategies.fedadam import FedAdam
from embryofl_server.federation.strategies.fedavg import FedAvg
from embryofl_server.federation.strategies.fedavgm import FedAvgM
from embryofl_server.federation.strategies.fedbn import FedBN
from embryofl_server.federation.strategies.feddyn import FedDyn
from embryofl_server.federation.strategies.fedembryo import FedEmbryo
from embryofl_server.federation.strategies.fednova import FedNova
from embryofl_server.federation.strategies.fedprox import FedProx
from embryofl_server.federation.strategies.fedyogi import FedYogi
from embryofl_server.federation.strategies.finetuned_heads import FineTunedHeads
from embryofl_server.federation.strategies.geometric_median import GeometricMedian
from embryofl_server.federation.strategies.krum import Krum
from embryofl_server.federation.strategies.median import CoordinateMedian
from embryofl_server.federation.strategies.multi_krum import MultiKrum
from embryofl_server.federation.strategies.qfedavg import QFedAvg
from embryofl_server.federation.strategies.scaffold import Scaffold
from embryofl_server.federation.strategies.trimmed_mean import TrimmedMean

__all__ = [
    "Aggregation",
    "Round",
    "State",
    "Steering",
    "Strategy",
    "StrategySettings",
    "ClinicUpdate",
    "local_defaults",
    "make_strategy",
    "strategy",
    "strategy_names",
    "strategy_settings",
]

_KNOWN: dict[str, type[Strategy]] = {
    cls.NAME: cls
    for cls in (
        FedAvg,
        FedAvgM,
        FedProx,
        FedAdagrad,
        FedAdam,
        FedYogi,
        FedNova,
        QFedAvg,
        Scaffold,
        FedDyn,
        FedBN,
        Ditto,
        FineTunedHeads,
        FedEmbryo,
        ClippedFedAvg,
        CoordinateMedian,
        TrimmedMean,
        Krum,
        MultiKrum,
        GeometricMedian,
    )
}


def strategy_names() -> list[str]:
    """The strategies that exist."""
    return sorted(_KNOWN)


def strategy(name: str) -> type[Strategy]:
    """The strategy called `name`; `UserError` naming those that exist."""
    if name not in _KNOWN:
        raise UserError(f"There is no strategy {name!r}. Choose one of: {', '.join(strategy_names())}.")
    return _KNOWN[name]


def strategy_settings(name: str, values: dict[str, Any]) -> StrategySettings:
    """The settings of the strategy called `name`, defaults filled in; `UserError` naming those that it takes."""
    model = strategy(name).SETTINGS
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        takes = ", ".join(f"{n} (default {f.default})" for n, f in model.model_fields.items()) or "none"
        raise UserError(
            f"The settings of strategy {name} cannot be used: {explain(exc)}. Its settings: {takes}."
        ) from exc


def local_defaults(name: str) -> dict[str, Any]:
    """Run settings that the strategy called `name` takes where none are given: how clinics train for it."""
    return dict(getattr(_KNOWN.get(name), "LOCAL", {}))


def make_strategy(settings: RunSettings) -> Strategy:
    """The strategy of a run."""
    return strategy(settings.strategy)(strategy_settings(settings.strategy, settings.strategy_settings))
