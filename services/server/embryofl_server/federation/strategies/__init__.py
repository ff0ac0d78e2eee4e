"""Aggregation strategies by name, one file each: a subclass of `base.Strategy` with the decorator `register`.

To add one, write its file in this folder: it is found there, under the file's name. A strategy sees the updates of a closed
round as files that have passed the gate, reads them in blocks, and returns a new model, its own state for the next round
(momentum and the like, as named arrays) and each clinic's share. It keeps nothing in memory between rounds, so that a
resumed run continues from the checkpoint with the same bits. The first line of a file's docstring describes it to people.
"""

import importlib
import pkgutil
from typing import Any

from pydantic import ValidationError

from embryofl.errors import UserError
from embryofl.schema import explain, there_is_no
from embryofl.settings import RunSettings
from embryofl_server.federation.strategies.base import STRATEGIES, Strategy, StrategySettings

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def strategy_names() -> list[str]:
    """The strategies that exist."""
    return sorted(STRATEGIES)


def strategy(name: str) -> type[Strategy[Any]]:
    """The strategy called `name`; `UserError` naming those that exist."""
    if name not in STRATEGIES:
        raise UserError(
            "R1", f"{there_is_no('strategy', name, STRATEGIES)} Choose one of: {', '.join(strategy_names())}."
        )
    return STRATEGIES[name]


def strategy_settings(name: str, values: dict[str, Any]) -> StrategySettings:
    """The settings of the strategy called `name`, defaults filled in; `UserError` naming those that it takes."""
    model = strategy(name).SETTINGS
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        takes = ", ".join(f"{n} (default {f.default})" for n, f in model.model_fields.items()) or "none"
        raise UserError(
            "R1",
            f"The settings of strategy {name} cannot be used: {explain(exc, model.model_fields)}. Its settings: {takes}.",
        ) from exc


def local_defaults(name: str) -> dict[str, Any]:
    """Defaults of run settings with the strategy called `name`: how clinics train for it."""
    return dict(STRATEGIES[name].LOCAL) if name in STRATEGIES else {}


def make_strategy(settings: RunSettings) -> Strategy[Any]:
    """The strategy of a run."""
    return strategy(settings.strategy)(strategy_settings(settings.strategy, settings.strategy_settings))
