"""What of a run's results may be shown to others: `results-public.json` and `model-card-public`.

Others are the other clinics, and whoever reads what is published. A clinic whose policy does not say `show_metrics = true`
counts in the figures of all clinics together, and has none of its own here. The coordinator's own `results.json`, model
card, console, commands and dashboards show every clinic.

So that nobody finds a hidden figure by subtraction, of whatever has a figure of all clinics together:

- the clinics that are held back are never fewer than `LEAST`: where fewer are hidden, no clinic is shown on its own;
- days are left out, also of all clinics, where too few of those held back stand behind one of them;
- what is of a hidden clinic alone is no figure of all clinics, and left out.

Clinics that know their own figures can still subtract those: in a federation of two, each learns of the other from what is
of both. Nothing but not publishing helps there.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from embryofl_server.members.store import Clinic
from embryofl_server.report.figures import figures
from embryofl_server.report.warnings import warnings

LEAST = 3
"""Clinics that are held back together where others are shown: one that subtracts its own still finds a sum of two."""
POOLED = 2
"""Clinics behind a figure of all together, where one of them is hidden."""
KEPT = (
    "format",
    "run",
    "round",
    "sha256",
    "incomplete",
    "refused",
    "use",
    "meaning",
    "settings",
    "best_validation",
    "calibration",
    "threshold",
    "date",
)
"""What is of no single clinic. A part that is new in `results.json` is published once it is named here or handled below."""

Results = dict[str, Any]


def hidden_among(names: Collection[str], clinics: Mapping[str, Clinic]) -> frozenset[str]:
    """Those of `names` whose figures may not be shown on their own; also who is not known, or did not say."""
    return frozenset(n for n in names if n not in clinics or not clinics[n].shows_metrics)


def published(results: Results, clinics: Mapping[str, Clinic]) -> Results:
    """What others may see of `results` (what `results.json` holds), and `held_back`: the clinics that are not shown."""
    names = {n for split in results["splits"].values() for n in split["clinics"]}
    names |= {n for entry in results["rounds"] for n in (*entry["clinics"], *entry["training"])}
    before = {n for run in results["across_runs"]["over_time"] for n in run["figures"] if n != "pooled"}
    hidden = hidden_among(names | before, clinics)
    if not hidden:
        return {**results, "held_back": []}
    found: Results = {key: results[key] for key in KEPT}
    at, own = results["threshold"]["value"], results["personal"]
    found["splits"] = {name: _split(split, hidden, at) for name, split in results["splits"].items()}
    if own is not None:
        splits = {name: _tables(split, hidden, own["threshold"])[0] for name, split in own["splits"].items()}
        own = {"kind": own["kind"], "threshold": own["threshold"], "splits": splits}
    found["personal"] = own
    found["grades"] = {name: _grades(by_clinic, hidden) for name, by_clinic in results["grades"].items()}
    found["rounds"] = [entry for found in results["rounds"] for entry in _round(found, hidden)]
    found["across_runs"] = _across(results["across_runs"], hidden, found["splits"]["test"])
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


def _tables(split: dict[str, Any], hidden: frozenset[str], threshold: float) -> tuple[dict[str, Any], bool]:
    """`pooled` and `clinics` of a split, and whether the days are shown."""
    clinics, pooled = split["clinics"], split["pooled"]
    days, held = _days(pooled, clinics, hidden)
    shown = {n: {day: f[day] for day in days or ["all"] if day in f} for n, f in clinics.items() if n not in held}
    if not days:
        return {"pooled": {"all": figures([], None, None, threshold)}, "clinics": shown}, False
    return {"pooled": {day: pooled[day] for day in days}, "clinics": shown}, len(days) == len(pooled)


def _days(
    pooled: Collection[str], clinics: Mapping[str, Any], hidden: frozenset[str]
) -> tuple[list[str], frozenset[str]]:
    """The days (and "all") of which figures are shown, none where nothing is; and who is not shown."""
    held = _held(hidden, clinics)
    told = {day: {n for n, days in clinics.items() if day in days and days[day]["n"]} for day in pooled}
    if "all" in told and not _enough(hidden, told["all"], held):
        return [], held
    each = all(_enough(hidden, names, held) for day, names in told.items() if day != "all")
    return [day for day in pooled if each or day == "all"], held


def _split(split: dict[str, Any], hidden: frozenset[str], threshold: float) -> dict[str, Any]:
    found, by_day = _tables(split, hidden, threshold)
    some = bool(found["pooled"]["all"]["n"])
    told = split["shortcuts"]
    shortcuts = {kind: told[kind] if some and (by_day or kind == "clinic") else _NOTHING for kind in told}
    return {**found, "shortcuts": shortcuts}


def _across(across: dict[str, Any], hidden: frozenset[str], test: dict[str, Any]) -> dict[str, Any]:
    """Spread over seeds: of whom and what day this run shows. Earlier runs: each by who took part in it."""
    seeds = across["seeds"]
    if seeds is not None:
        shown = {"pooled": test["pooled"], **test["clinics"]}
        kept = {
            n: {d: f for d, f in days.items() if d in shown[n]} for n, days in seeds["figures"].items() if n in shown
        }
        seeds = {"runs": seeds["runs"], "figures": kept} if test["pooled"]["all"]["n"] else None
    return {"seeds": seeds, "over_time": [_earlier(run, hidden) for run in across["over_time"]]}


def _earlier(run: dict[str, Any], hidden: frozenset[str]) -> dict[str, Any]:
    clinics = {n: days for n, days in run["figures"].items() if n != "pooled"}
    days, held = _days(run["figures"].get("pooled", {}), clinics, hidden)
    shown = {n: {d: f[d] for d in days if d in f} for n, f in run["figures"].items() if n not in held}
    return {**{key: run[key] for key in ("run", "date", "seed", "changed")}, "figures": shown}


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


def not_for_others_words(held: Collection[str]) -> str:
    """What the coordinator is told on a card that has them."""
    if not held:
        return ""
    return (
        f"For the coordinator alone, since it shows figures that are not for others: those of {', '.join(held)} on their "
        "own. What may be passed on is model-card-public and results-public.json."
    )
