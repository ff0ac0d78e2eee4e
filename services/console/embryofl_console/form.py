"""The form of a new run: its fields for numbers, and the run settings that all its fields amount to."""

from typing import Any, NamedTuple

from embryofl.errors import UserError
from embryofl.settings import setting_value
from embryofl_console.texts import texts


class Number(NamedTuple):
    """A run setting with its own field."""

    setting: str
    least: int = 0
    most: int | None = None
    integer: bool = True


ROUNDS = (Number("rounds", 1, 10_000), Number("local_epochs", 1, 100), Number("seed"))
LIMITS = (Number("min_clinics", most=1000), Number("quorum", 0, 1000, False), Number("round_deadline_s", integer=False))
PROTECTION = (Number("norm_clip", integer=False), Number("norm_bound", integer=False), Number("suspend_after"))
NUMBERS = [number.setting for number in (*ROUNDS, *LIMITS, *PROTECTION)]


def collected(strategy: dict[str, Any], model: str, name: str, *values: Any) -> dict[str, Any]:
    """The form's fields as run settings: `NUMBERS`, the further settings as lines, and the strategy's own.

    What has its neutral value is left out, for the server to decide; the deadline is in minutes.

    Raises
    ------
    UserError
        When a line of the further settings is not one.
    """
    count = len(NUMBERS)
    settings = {"model": model, "strategy": name, **dict(zip(NUMBERS, values[:count], strict=True))}
    minutes = settings["round_deadline_s"]
    settings |= {
        "min_clinics": settings["min_clinics"] or None,
        "round_deadline_s": None if minutes is None else minutes * 60 or "auto",
    }
    settings = {key: value for key, value in settings.items() if value is not None}
    further, *of_strategy = values[count:]
    for setting, typed in zip(strategy.get("settings", []), of_strategy, strict=False):
        if typed.strip():
            settings[setting["name"]] = setting_value(typed.strip())
    for line in filter(str.strip, further.splitlines()):
        key, sign, typed = line.partition("=")
        if not sign or not key.strip():
            raise UserError("R1", texts.new_run.no_setting.format(line=line.strip()[:60]))
        settings[key.strip()] = setting_value(typed.strip())
    return settings
