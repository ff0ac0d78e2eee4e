"""The form of a new run as run settings."""

import json
from typing import Any

from embryofl.errors import UserError
from embryofl_console.texts import texts


def collected(strategy: dict[str, Any], *values: Any) -> dict[str, Any]:
    """The form's fields as run settings. What has its neutral value is left out, for the server to decide.

    Raises
    ------
    UserError
        When a line of the further settings is not one.
    """
    model, name, rounds, epochs, seed, least, quorum, deadline, clip, bound, suspend, more, *own = values
    settings: dict[str, Any] = {
        "model": model,
        "strategy": name,
        "rounds": rounds,
        "local_epochs": epochs,
        "seed": seed,
        "min_clinics": least or None,
        "quorum": quorum,
        "round_deadline_s": None if deadline is None else deadline * 60 or "auto",
        "norm_clip": clip,
        "norm_bound": bound,
        "suspend_after": suspend,
    }
    settings = {key: value for key, value in settings.items() if value is not None}
    for setting, typed in zip(strategy.get("settings", []), own, strict=False):
        if typed.strip():
            settings[setting["name"]] = _value(typed)
    for line in filter(str.strip, more.splitlines()):
        key, sign, typed = line.partition("=")
        if not sign or not key.strip():
            raise UserError(texts.new_run.no_setting.format(line=line.strip()[:60]))
        settings[key.strip()] = _value(typed)
    return settings


def _value(typed: str) -> Any:
    """Numbers and booleans as in JSON, anything else as text."""
    try:
        value = json.loads(typed)
    except ValueError:
        return typed.strip()
    return value if isinstance(value, (int, float, bool)) else typed.strip()
