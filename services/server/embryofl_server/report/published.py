"""What of a run's results may be shown to others: the model card, and `results-public.json`.

Others are the other clinics, and whoever reads what is published. A clinic whose policy does not say `show_metrics = true`
counts in the figures of all clinics together, and has none of its own here. The coordinator's own `results.json`, console,
commands and dashboards show every clinic.

So that nobody finds a hidden figure by subtraction, of whatever has a figure of all clinics together:

- the clinics that are held back are never fewer than `LEAST`: where fewer are hidden, no clinic is shown on its own;
- days are left out, also of all clinics, where too few of those held back stand behind one of them;
- what is of a hidden clinic alone is no figure of all clinics, and left out.

Clinics that know their own figures can still subtract those: in a federation of two, each learns of the other from what is
of both. Nothing but not publishing helps there.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from embryofl.metrics import merge
from embryofl_server.report.figures import figures
from embryofl_server.report.warnings import warnings
from embryofl_server.store import Clinic

LEAST = 3
"""Clinics that are held back together where others are shown: one that subtracts its own still finds a sum of two."""
POOLED = 2
"""Clinics behind a figure of all together, where one of them is hidden."""
KEPT = (
    "format", "run", "round", "sha256", "incomplete", "refused", "use", "meaning", "settings", "best_validation",
    "calibration", "threshold",
)  # fmt: skip
"""What is of no single clinic. A part that is new in `results.json` is published once it is named here or handled below."""

Results = dict[str, Any]


def hidden_among(names: Collection[str], clinics: Mapping[str, Clinic]) -> frozenset[str]:
    """Those of `names` whose figures may not be shown on their own; also who is not known, or did not say."""
    return frozenset(n for n in names if n not in clinics or not clinics[n].shows_metrics)


def published(results: Results, clinics: Mapping[str, Clinic]) -> Results:
    """What others may see of `results` (what `results.json` holds), and `held_back`: the clinics that are not shown."""
    names = {n for split in results["splits"].values() for n in split["clinics"]}
    names |= {n for entry in results["rounds"] for n in (*entry["clinics"], *entry["training"])}
    hidden = hidden_among(names, clinics)
    if not hidden:
        return {**results, "held_back": []}
    found: Results = {key: results[key] for key in KEPT}
    at = results["threshold"]["value"]
    found["splits"] = {name: _split(split, hidden, at) for name, split in results["splits"].items()}
    found["grades"] = {name: _grades(by_clinic, hidden) for name, by_clinic in results["grades"].items()}
    found["rounds"] = [entry for found in results["rounds"] for entry in _round(found, hidden)]
    if not found["splits"]["validation"]["pooled"]["all"]["n"]:
        found |= {"calibration": None, "best_validation": None}
    found["held_back"] = sorted(_held(hidden, names))
    return {**found, "warnings": warnings(found)}


def _held(hidden: frozenset[str], told: Collection[str]) -> frozenset[str]:
    """Who of those that told something is not shown with it."""
    here = hidden & set(told)
    return frozenset(told) if 0 < len(here) < LEAST else here


def _enough(hidden: frozenset[str], told: Collection[str], held: frozenset[str]) -> bool:
    """Whether a figure of all who told something gives nobody away, of whom `held` are not shown."""
    if not hidden & set(told):
        return True
    return len(held & set(told)) >= (LEAST if set(told) - held else POOLED)


def _split(split: dict[str, Any], hidden: frozenset[str], threshold: float) -> dict[str, Any]:
    clinics, pooled = split["clinics"], split["pooled"]
    held = _held(hidden, clinics)
    told = {day: {n for n, days in clinics.items() if day in days and days[day]["n"]} for day in pooled}
    by_day = all(_enough(hidden, names, held) for day, names in told.items() if day != "all")
    days = [day for day in pooled if by_day or day == "all"]
    shown = {n: {day: f[day] for day in days if day in f} for n, f in clinics.items() if n not in held}
    if not _enough(hidden, told["all"], held):
        return {"pooled": {"all": figures(merge(()), None, None, threshold)}, "clinics": shown,
                "shortcuts": {"day": _NOTHING, "clinic": _NOTHING}}  # fmt: skip
    shortcuts = split["shortcuts"] if by_day else {**split["shortcuts"], "day": _NOTHING}
    return {"pooled": {day: pooled[day] for day in days}, "clinics": shown, "shortcuts": shortcuts}


_NOTHING = {"all": None, "within": None, "alone": None}


def _grades(by_clinic: dict[str, Any], hidden: frozenset[str]) -> dict[str, Any]:
    """Each Gardner target by itself: not every clinic has every one."""
    out: dict[str, Any] = {}
    for target in {t: None for by_target in by_clinic.values() for t in by_target}:
        told = [n for n, by_target in by_clinic.items() if target in by_target and n != "pooled"]
        held = _held(hidden, told)
        shown = [n for n in told if n not in held]
        for name in [*shown, *(["pooled"] if _enough(hidden, told, held) else [])]:
            out.setdefault(name, {})[target] = by_clinic[name][target]
    return out


def _round(entry: dict[str, Any], hidden: frozenset[str]) -> Iterator[dict[str, Any]]:
    held = _held(hidden, {*entry["clinics"], *entry["training"]})
    if _enough(hidden, entry["clinics"], held):
        shown = {kind: {n: f for n, f in entry[kind].items() if n not in held} for kind in ("clinics", "training")}
        yield {"round": entry["round"], "pooled": entry["pooled"], **shown}


def held_back_words(held: Collection[str]) -> str:
    """What a reader is told of clinics that are not shown."""
    if not held:
        return ""
    return (
        f"Counted in the figures of all clinics and not shown on their own: {', '.join(held)}. A clinic's policy may ask "
        f"for that, and fewer than {LEAST} are never left out alone, since their figures would follow from the others'."
    )
