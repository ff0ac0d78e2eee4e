"""What the hub sees of the clinics' metrics, by their policies: one sentence for status, console, results and card."""

from collections.abc import Collection, Mapping
from typing import get_args

from embryofl.membership import Releases
from embryofl.pooled_metrics import LIMIT
from embryofl.secagg.threshold import MIN_CLINICS


def metrics_seen(releases: Mapping[str, Releases], spent: Collection[str] = ()) -> str:
    """One sentence about a run of these clinics.

    Parameters
    ----------
    releases : mapping of str to {"own", "pooled", "none"}
        Each clinic's policy.
    spent : collection of str
        See `describe_spent`.
    """
    own, pooled, silent = (sorted(n for n, r in releases.items() if r == which) for which in get_args(Releases))
    if not pooled and not silent:
        return "The hub sees each clinic's metrics after every round."
    pooled = [name for name in pooled if name not in spent]
    parts = [f"after every round those of {', '.join(own)}"] if own else []
    if len(pooled) >= MIN_CLINICS:
        parts.append(f"once, after the last round, the sum over {', '.join(pooled)}")
    elif pooled:
        parts.append(f"none of {', '.join(pooled)} (pooled only, which needs {MIN_CLINICS} clinics)")
    if silent:
        parts.append(f"none of {', '.join(silent)}")
    if spent:
        parts.append(describe_spent(spent))
    return f"The hub sees metrics: {'; '.join(parts)}. Each clinic sees its own on its own page."


def describe_spent(spent: Collection[str]) -> str:
    """About clinics that declined to be summed because they have answered as many evaluations as their policies allow."""
    return (
        f"none of {', '.join(sorted(spent))}, which have answered as many evaluations as their policies allow (ask them "
        f"for a higher {LIMIT})"
    )


def describe_pool(count: int, of: int) -> str:
    """Whose metrics pooled ones are: those of so many clinics of all that take part."""
    return "all clinics" if count >= of else f"{count} of {of} clinics"
