"""The form of a new run as run settings."""

import json
from typing import Any

from embryofl.errors import UserError
from embryofl_console import texts

State = dict[str, Any]


def collected(strategy: State, *values: Any) -> dict[str, Any]:
    """The form's fields as run settings. What is left at its neutral value is left out, for the server to decide.

    Raises
    ------
    UserError
        When a line of the further settings is none.
    """
    model, name, rounds, epochs, seed, least, quorum, deadline, clip, bound, suspend, more, *own = values
    numbers = {
        "rounds": rounds,
        "local_epochs": epochs,
        "seed": seed,
        "quorum": quorum,
        "norm_clip": clip,
        "norm_bound": bound,
        "suspend_after": suspend,
    }
    found: dict[str, Any] = {"model": model, "strategy": name, **{k: v for k, v in numbers.items() if v is not None}}
    if least:
        found["min_clinics"] = least
    if deadline is not None:
        found["round_deadline_s"] = deadline * 60 if deadline else "auto"
    for setting, typed in zip(strategy.get("settings", []), own, strict=False):
        if typed.strip():
            found[setting["name"]] = _value(typed)
    for line in more.splitlines():
        key, sign, typed = line.partition("=")
        if line.strip() and (not sign or not key.strip()):
            raise UserError(texts.NO_SETTING.format(line=line.strip()[:60]))
        if line.strip():
            found[key.strip()] = _value(typed)
    return found


def _value(typed: str) -> Any:
    """Numbers and booleans as in JSON, anything else as text."""
    try:
        value = json.loads(typed)
    except ValueError:
        return typed.strip()
    return value if isinstance(value, (int, float, bool)) else typed.strip()
