"""Run settings as a person types them, ``name=value``, and whether they can be used."""

import json
from typing import Any

from embryofl.errors import UserError
from embryofl.messages import RunSettings, run_settings
from embryofl.models import model_names
from embryofl_server.strategies import strategy


def parse_settings(options: list[str]) -> dict[str, Any]:
    """``["rounds=15", "model=resnet18"]`` to a dict; numbers and booleans as in JSON, anything else as text."""
    values: dict[str, Any] = {}
    for option in options:
        name, sign, text = option.partition("=")
        if not sign or not name.strip():
            raise UserError(f"{option!r} is not a setting. Write it as name=value, such as rounds=15.")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        values[name.strip()] = value if isinstance(value, (int, float, bool)) else text
    return values


def check_settings(values: dict[str, Any], *, any_model: bool = False) -> RunSettings:
    """Validate a run's settings; `any_model` where the initial weights are given.

    Raises
    ------
    UserError
        When a setting, the model or the strategy does not exist or cannot be used; it names those that exist.
    """
    settings = run_settings(values)
    if settings.model not in model_names() and not any_model:
        raise UserError(f"There is no model {settings.model!r}. Choose one of: {', '.join(model_names())}.")
    least = strategy(settings.strategy).LEAST_CLINICS
    if settings.min_clinics < least:
        raise UserError(
            f"Strategy {settings.strategy} needs at least {least} clinics, min_clinics is {settings.min_clinics}."
        )
    return settings
