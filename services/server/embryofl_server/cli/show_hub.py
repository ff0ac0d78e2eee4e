"""What the status says of the hub itself: tunnel, certificate, authority. Nothing, when all is as it should be."""

import time
from typing import Any

SOON_S = 14 * 86_400.0


def hub_words(hub: dict[str, Any], now: float) -> list[str]:
    """Lines for the coordinator.

    Parameters
    ----------
    hub : dict
        `hub` of the status.
    now : float
        Unix time in seconds.
    """
    lines = []
    tunnel = hub.get("tunnel")
    if tunnel and tunnel["up"]:
        words = f"Reached from outside at {tunnel['address']}"
        if tunnel["before"]:
            words += (
                f" (was {tunnel['before']}: clinics that were connected have learnt of it; one that only knows the old "
                f"address runs: embryofl-clinic hub {tunnel['address']})"
            )
        lines.append(words)
    elif tunnel:
        lines.append(f"No tunnel: {tunnel['words']} The local network is not touched by that.")
    if hub.get("rotating"):
        missing = hub["missing"]
        lines.append(
            f"The authority is being changed; still missing: {', '.join(missing)}"
            if missing
            else "All clinics have taken the new authority: embryofl-server rotate-ca --finish"
        )
    for key, what in (("certificate_ends", "gateway's certificate"), ("authority_ends", "hub's authority")):
        if hub.get(key) and hub[key] - now < 0:
            lines.append(f"The {what} has ended ({time.strftime('%d %B %Y', time.gmtime(hub[key]))}).")
    return lines
