"""Run settings as a person types them: ``name=value``."""

import json
from typing import Any

from embryofl.errors import UserError


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
