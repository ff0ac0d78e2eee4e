"""What the hub sees of the clinics' metrics, by their policies: one sentence for status, console, results and card."""

from collections.abc import Mapping
from typing import get_args

from embryofl.membership import Releases
from embryofl.secagg.threshold import MIN_CLINICS


def metrics_seen(releases: Mapping[str, Releases]) -> str:
    """One sentence about a run of these clinics.

    Parameters
    ----------
    releases : mapping of str to {"own", "pooled", "none"}
        Each clinic's policy.
    """
    own, pooled, silent = (sorted(n for n, r in releases.items() if r == which) for which in get_args(Releases))
    if not pooled and not silent:
        return "The hub sees each clinic's metrics after every round."
    parts = [f"after every round those of {', '.join(own)}"] if own else []
    if len(pooled) >= MIN_CLINICS:
        parts.append(f"once, after the last round, the sum over {', '.join(pooled)}")
    elif pooled:
        parts.append(f"none of {', '.join(pooled)} (pooled only, which needs {MIN_CLINICS} clinics)")
    if silent:
        parts.append(f"none of {', '.join(silent)}")
    return f"The hub sees metrics: {'; '.join(parts)}. Each clinic sees its own on its own page."


def describe_pool(count: int, of: int) -> str:
    """Whose metrics pooled ones are: those of so many clinics of all that take part."""
    return "all clinics" if count >= of else f"{count} of {of} clinics"
