"""The models, strategies and settings to choose from for a run, with descriptions and defaults."""

import inspect
import sys
from typing import Any

from embryofl.models import FACTS
from embryofl.settings import RunSettings
from embryofl_server.federation.strategies import local_defaults, strategy, strategy_names


def offers() -> dict[str, Any]:
    """JSON-able: `models`, `strategies`, and `defaults`, the run settings that apply unless others are given."""
    return {
        "models": [{"name": n, "words": f.words, "size": f.size, "recipe": f.recipe} for n, f in FACTS.items()],
        "strategies": [_strategy(name) for name in strategy_names()],
        "defaults": RunSettings().model_dump(),
    }


def _strategy(name: str) -> dict[str, Any]:
    kind = strategy(name)
    fields = kind.SETTINGS.model_fields
    return {
        "name": name,
        "words": (sys.modules[kind.__module__].__doc__ or "").partition("\n")[0],
        "least_clinics": kind(kind.SETTINGS()).min_updates,
        "settings": [{"name": key, "default": field.default} for key, field in fields.items()],
        "settings_words": " ".join((inspect.getdoc(kind.SETTINGS) or "").replace("`", "").split()) if fields else "",
        "local": local_defaults(name),
    }
