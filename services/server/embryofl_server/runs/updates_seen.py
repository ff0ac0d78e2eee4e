"""What the hub sees of the clinics' updates in a run: one sentence for status, console, results, card and audit log."""

from collections.abc import Mapping
from typing import Any

from embryofl.secagg.threshold import MAX_CLINICS, MIN_CLINICS
from embryofl.settings import RunSettings
from embryofl_server.runs.privacy_seen import privacy_seen


def updates_seen(settings: Mapping[str, Any], done: int | None = None) -> str:
    """One sentence about a run of these settings, and what `privacy_seen` says of it.

    Parameters
    ----------
    settings : mapping
        Of `RunSettings`, checked: `masked_weights` says whether there are masks.
    done : int, optional
        Rounds that are complete.
    """
    return f"{_seen(settings)} {privacy_seen(settings, done)}".rstrip()


def _seen(settings: Mapping[str, Any]) -> str:
    if settings["masked_weights"]:
        noise = f" and noise of {settings['update_noise']} times their bound" if settings["update_noise"] else ""
        grouped = RunSettings.model_validate(settings).grouped
        sums = "groups of three or four clinics'" if grouped else f"at least {MIN_CLINICS} clinics'"
        return (
            f"The hub sees only sums of {sums} updates{noise}. Sums are not anonymous, and a hub that chooses who takes "
            "part can compare them."
        )
    return f"Updates are visible to the hub: {reason_against_masks(settings, sums=False)}."


def reason_against_masks(settings: Mapping[str, Any], *, sums: bool) -> str:
    """Why updates are not masked in a run of these settings; "" if they are.

    Parameters
    ----------
    settings : mapping
        Of `RunSettings`.
    sums : bool
        Whether the run's strategy can do with sums of updates.
    """
    if settings["secure_aggregation"] == "off":
        return "secure_aggregation is off"
    if not MIN_CLINICS <= settings["min_clinics"] <= MAX_CLINICS:
        return f"masks need {MIN_CLINICS} to {MAX_CLINICS} clinics, min_clinics is {settings['min_clinics']}"
    if settings["personal"] == "norms":
        return f"with strategy {settings['strategy']} they depend on what each clinic has kept of earlier rounds"
    return "" if sums else f"strategy {settings['strategy']} needs each clinic's update"
