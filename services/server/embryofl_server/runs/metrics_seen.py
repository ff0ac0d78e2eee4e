"""What the hub sees of the clinics' metrics, by their policies: one sentence for status, console, results and card."""

from collections.abc import Collection, Mapping
from typing import get_args

from embryofl.membership import Releases
from embryofl.pooled_metrics import LIMIT
from embryofl.secagg.threshold import MIN_CLINICS
from embryofl.settings import RunSettings


def metrics_seen(releases: Mapping[str, Releases], spent: Collection[str] = (), pooled_every: int = 0) -> str:
    """One sentence about a run of these clinics.

    Parameters
    ----------
    releases : mapping of str to {"own", "pooled", "none"}
        Each clinic's policy.
    spent : collection of str
        See `describe_spent`.
    pooled_every : int
        See `RunSettings`.
    """
    own, pooled, silent = (sorted(n for n, r in releases.items() if r == which) for which in get_args(Releases))
    if not pooled and not silent:
        return "The hub sees each clinic's metrics after every round."
    pooled = [name for name in pooled if name not in spent]
    parts = [f"after every round those of {', '.join(own)}"] if own else []
    if len(pooled) >= MIN_CLINICS:
        when = "once, after the last round, the sum over"
        if pooled_every:
            on_the_way = f"every {pooled_every} rounds if {LIMIT} in their policies allows it"
            when = f"after the last round, and {on_the_way}, the sum over"
        parts.append(f"{when} {', '.join(pooled)}")
    elif pooled:
        parts.append(f"none of {', '.join(pooled)} (pooled only, which needs {MIN_CLINICS} clinics)")
    if silent:
        parts.append(f"none of {', '.join(silent)}")
    if spent:
        parts.append(describe_spent(spent))
    return f"The hub sees metrics: {'; '.join(parts)}. Each clinic sees its own on its own page."


def describe_asking(settings: RunSettings) -> str:
    """What `pooled_every` costs in privacy; "" without it."""
    if not settings.pooled_every:
        return ""
    return (
        f"It asks clinics that release pooled metrics {settings.evaluations_from(0)} times instead of once. Each answer "
        "tells more: two about models made for it told the label of a chosen image in 15 of 16 cases. A clinic answers "
        f"before the end only if what its policy still allows ({LIMIT}; by default 1) covers the rest of the run."
    )


def describe_spent(spent: Collection[str]) -> str:
    """About clinics that declined to be summed because they have answered as many evaluations as their policies allow."""
    return (
        f"none of {', '.join(sorted(spent))}, which have answered as many evaluations as their policies allow (ask them "
        f"for a higher {LIMIT})"
    )


def describe_pool(count: int, of: int) -> str:
    """Whose metrics pooled ones are: those of so many clinics of all that take part."""
    return "all clinics" if count >= of else f"{count} of {of} clinics"
