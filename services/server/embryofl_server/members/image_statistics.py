"""The clinics' pooled image statistics, and how each clinic compares with the others, for the coordinator."""

from typing import Any

from embryofl.data_statistics import DataStatistics, deviations, others_of, pool

_PLACE = ("own", "others", "spread", "distance", "far", "words")


def image_statistics(parts: dict[str, DataStatistics]) -> dict[str, Any]:
    """JSON-able.

    Parameters
    ----------
    parts : dict of str to DataStatistics
        Reported by each clinic when it joined.

    Returns
    -------
    dict
        `all`: pooled over all clinics, None if none reported any. `clinics`: by name, the reported `statistics`, and
        `places`: measure to own and others' mean, the others' spread, the distance in it, and a message; empty if too few
        others.
    """
    clinics = {}
    for name, reported in sorted(parts.items()):
        others = others_of(name, parts)
        compared = deviations(reported, others) if others else []
        clinics[name] = {
            "statistics": reported.model_dump(),
            "places": {p.measure: {key: getattr(p, key) for key in _PLACE} for p in compared},
        }
    return {"all": pool(list(parts.values())).model_dump() if parts else None, "clinics": clinics}
