"""The form of a new run: its fields for numbers, and the run settings that all its fields amount to."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from embryofl.errors import UserError
from embryofl.settings import RunSettings, setting_value
from embryofl_console.texts import texts


class Number(NamedTuple):
    """A run setting with its own field; `step`: 1 for whole numbers, else "any"."""

    setting: str
    least: int = 0
    most: int | None = None
    step: int | str = 1


GROUPS = (
    (Number("rounds", 1, 10_000), Number("local_epochs", 1, 100), Number("seed")),
    (Number("min_clinics", most=1000), Number("quorum", 0, 1000, "any"), Number("round_deadline_s", step="any")),
    (Number("norm_clip", step="any"), Number("norm_bound", step="any"), Number("suspend_after")),
)
NAMES = ["model", "strategy", *(number.setting for group in GROUPS for number in group)]
PRESETS: dict[str, dict[str, Any]] = {
    "standard": {},
    "quick": {"model": "small_cnn", "rounds": 3, "local_epochs": 1},
    "private": {"secure_aggregation": "required", "update_noise": 0.1},
    "robust": {"strategy": "median"},
}
"""Settings to begin with, by a key of `texts.preset`."""
OWN = "own-"
"""What the names of fields for a strategy's own settings begin with."""
CLINIC = "clinic-"
"""What the names of the clinics' tick boxes begin with."""


def usual(offers: Mapping[str, Any]) -> dict[str, str]:
    """What the fields hold at first: a run's defaults, and no seed, which the hub then decides."""
    values = RunSettings().model_dump()
    deadline = values["round_deadline_s"]
    values |= {"min_clinics": 0, "round_deadline_s": 0 if deadline == "auto" else deadline / 60, "seed": ""}
    values |= {key: offers["defaults"][key] for key in ("model", "strategy") if key in offers["defaults"]}
    return {"more": "", "model_before": str(values["model"]), **{name: _plain(values[name]) for name in NAMES}}


def filled(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, str]:
    """The form's fields for these settings: what has no field of its own, and is not the default, stands below further
    settings. The seed of a run with masks is not used again: its clinics would decline to begin from the same model."""
    fields = {name: _plain(settings[name]) for name in NAMES if name in settings}
    deadline = settings.get("round_deadline_s")
    if deadline is not None:
        fields["round_deadline_s"] = "0" if deadline == "auto" else _plain(deadline / 60)
    fields |= {f"{OWN}{key}": _plain(value) for key, value in settings.get("strategy_settings", {}).items()}
    fields |= {f"{CLINIC}{name}": "on" for name in settings.get("clinics", ())}
    if settings.get("masked_weights"):
        fields.pop("seed", None)
    own = {*fields, "strategy_settings", "masked_weights", "seed", "clinics"}
    more = [
        f"{key}={_plain(value)}" for key, value in settings.items() if key not in own and value != defaults.get(key)
    ]
    if "model" in fields:
        fields["model_before"] = fields["model"]
    return {**fields, "more": "\n".join(more)}


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def collected(fields: Mapping[str, str]) -> dict[str, Any]:
    """The form's fields as run settings; what has its neutral value is left out, for the server to decide.

    Parameters
    ----------
    fields : mapping of str to str
        By the names of settings (the deadline in minutes), a strategy's own with `OWN` before it, ticked clinics with
        `CLINIC` before their names, and as `more` further settings as lines.

    Raises
    ------
    UserError
        When a line of the further settings is not one.
    """
    settings = {name: setting_value(fields[name]) for name in NAMES if fields.get(name)}
    if settings.get("min_clinics") == 0:
        del settings["min_clinics"]
    minutes = settings.get("round_deadline_s")
    if isinstance(minutes, int | float):
        settings["round_deadline_s"] = minutes * 60 or "auto"
    settings |= {
        name.removeprefix(OWN): setting_value(typed) for name, typed in fields.items() if name.startswith(OWN) and typed
    }
    if ticked := [name.removeprefix(CLINIC) for name in fields if name.startswith(CLINIC)]:
        settings["clinics"] = ticked
    for line in filter(str.strip, fields.get("more", "").splitlines()):
        key, sign, typed = line.partition("=")
        if not sign or not key.strip():
            raise UserError("R1", texts.new_run.no_setting.format(line=line.strip()[:60]))
        settings[key.strip()] = typed if key.strip() == "clinics" else setting_value(typed.strip())
    return settings
