"""What the hub sees of the clinics' metrics, by their policies: one sentence for status, console, results and card."""

from collections.abc import Collection, Mapping

from embryofl.membership import Releases


def metrics_seen(releases: Mapping[str, Releases]) -> str:
    """One sentence about a run of these clinics.

    Parameters
    ----------
    releases : mapping of str to {"own", "pooled", "none"}
        Each clinic's policy.
    """
    own = [name for name, released in sorted(releases.items()) if released == "own"]
    silent = sorted({*releases} - {*own})
    if not silent:
        return "The hub sees each clinic's metrics after every round."
    parts = [f"after every round those of {', '.join(own)}"] if own else []
    parts.append(f"none of {', '.join(silent)}")
    return f"The hub sees metrics: {'; '.join(parts)}. Each clinic sees its own on its own page."


def describe_pool(names: Collection[str], of: Collection[str]) -> str:
    """Whose metrics pooled ones are: those of the clinics `names` among all that take part."""
    return "all clinics" if {*names} >= {*of} else f"{len({*names} & {*of})} of {len(of)} clinics"
