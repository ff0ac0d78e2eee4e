"""The part of a run's results that may be shown to others: `results-public.json` and `model-card-public`.

Others are the other clinics, and anybody who reads what is published. A clinic whose policy does not say
`show_metrics = true` counts in the pooled results, but its own results are hidden here. The coordinator's `results.json`,
model card, console, commands and dashboards show every clinic.

So that hidden results cannot be found by subtraction from the pooled ones:

- never fewer than `LEAST` clinics are withheld: if fewer are hidden, no clinic is shown on its own;
- days are withheld, also from the pooled results, if too few of the withheld clinics stand behind one of them;
- results of a single hidden clinic are not pooled results, and are withheld;
- an audit is shown only if all its counts were summed under masks.

Clinics can still subtract their own results: in a federation of two, each can work out the other's from the pooled ones.
Only not publishing helps there.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from embryofl_server.members.store import Clinic
from embryofl_server.report.metrics import metrics_of
from embryofl_server.report.warnings import warnings

LEAST = 3
"""Clinics withheld together if others are shown: a clinic that subtracts its own results still gets a sum of two."""
POOLED = 2
"""Clinics behind a pooled result, if one of them is hidden."""
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
    "updates",
    "voted_down",
    "releases",
    "metrics_seen",
    "best_validation",
    "calibration",
    "threshold",
    "date",
)
"""What concerns no single clinic. A new part of `results.json` is published only if it is named here or handled below."""

Results = dict[str, Any]


def hidden_among(names: Collection[str], clinics: Mapping[str, Clinic]) -> frozenset[str]:
    """Those of `names` whose own results must not be shown; unknown clinics and those without a choice among them."""
    return frozenset(n for n in names if n not in clinics or not clinics[n].shows_metrics)


def published(results: Results, clinics: Mapping[str, Clinic]) -> Results:
    """The part of `results` (`results.json`) that others may see, and `held_back`: the clinics that are not shown."""
    names = {n for split in results["splits"].values() for n in split["clinics"]}
    names |= {n for entry in results["rounds"] for n in (*entry["clinics"], *entry["training"])}
    external = results["external"]
    names |= set(external["clinics"]) if external else set()
    before = {n for run in results["across_runs"]["over_time"] for n in run["figures"] if n != "pooled"}
    hidden = hidden_among(names | before, clinics)
    if not hidden:
        return {**results, "held_back": []}
    at, personal = results["threshold"]["value"], results["personal"]
    splits = {name: _split(split, hidden, at) for name, split in results["splits"].items()}
    if personal is not None:
        at = personal["threshold"]
        personal = {**personal, "splits": {n: _tables(split, hidden, at)[0] for n, split in personal["splits"].items()}}
    if external is not None:
        tables = _tables(external, hidden, results["threshold"]["value"])[0]
        both = splits["test"]["pooled"]["all"]["n"] and tables["pooled"]["all"]["n"]
        external = {**external, **tables, "compared": external["compared"] if both else []}
    public: Results = {
        **{key: results[key] for key in KEPT},
        "splits": splits,
        "personal": personal,
        "external": external,
        "grades": {name: _grades(by_clinic, hidden) for name, by_clinic in results["grades"].items()},
        "rounds": [shown for entry in results["rounds"] for shown in _round(entry, hidden)],
        "across_runs": _across(results["across_runs"], hidden, splits["test"]),
        "audit": None if results["audit"] and results["audit"]["own"] else results["audit"],
        "held_back": sorted(_held(hidden, names)),
    }
    if not splits["validation"]["pooled"]["all"]["n"]:
        public |= {"calibration": None, "best_validation": None}
    return {**public, "warnings": warnings(public)}


def _held(hidden: frozenset[str], reporting: Collection[str]) -> frozenset[str]:
    """The clinics, of those that reported something, whose own results are withheld."""
    here = hidden & set(reporting)
    return frozenset(reporting) if 0 < len(here) < LEAST else here


def _enough(hidden: frozenset[str], reporting: Collection[str], held: frozenset[str]) -> bool:
    """Whether the pooled result of all reporting clinics reveals none, if `held` are withheld."""
    if not hidden & set(reporting):
        return True
    return len(held & set(reporting)) >= (LEAST if set(reporting) - held else POOLED)


def _tables(split: dict[str, Any], hidden: frozenset[str], threshold: float) -> tuple[dict[str, Any], bool]:
    """`pooled` and `clinics` of a split, and whether the days are shown."""
    clinics, pooled = split["clinics"], split["pooled"]
    days, held = _days(pooled, clinics, hidden)
    shown = {n: {day: f[day] for day in days or ["all"] if day in f} for n, f in clinics.items() if n not in held}
    if not days:
        return {"pooled": {"all": metrics_of([], None, None, threshold)}, "clinics": shown}, False
    return {"pooled": {day: pooled[day] for day in days}, "clinics": shown}, len(days) == len(pooled)


def _days(
    pooled: Collection[str], clinics: Mapping[str, Any], hidden: frozenset[str]
) -> tuple[list[str], frozenset[str]]:
    """The days (and "all") of which results are shown, if any; and the clinics that are withheld."""
    held = _held(hidden, clinics)
    reporting = {day: {n for n, days in clinics.items() if day in days and days[day]["n"]} for day in pooled}
    if "all" in reporting and not _enough(hidden, reporting["all"], held):
        return [], held
    each = all(_enough(hidden, names, held) for day, names in reporting.items() if day != "all")
    return [day for day in pooled if each or day == "all"], held


def _split(split: dict[str, Any], hidden: frozenset[str], threshold: float) -> dict[str, Any]:
    tables, by_day = _tables(split, hidden, threshold)
    some = bool(tables["pooled"]["all"]["n"])
    shortcuts = {
        kind: areas if some and (by_day or kind == "clinic") else _NOTHING for kind, areas in split["shortcuts"].items()
    }
    return {**tables, "whose": split["whose"], "shortcuts": shortcuts}


def _across(across: dict[str, Any], hidden: frozenset[str], test: dict[str, Any]) -> dict[str, Any]:
    """Spread over seeds for the clinics and days that this run shows; earlier runs each by its own clinics."""
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
    """Each Gardner target separately: not every clinic grades every one."""
    out: dict[str, Any] = {}
    for target in {t: None for by_target in by_clinic.values() for t in by_target}:
        reporting = [n for n, by_target in by_clinic.items() if target in by_target and n != "pooled"]
        held = _held(hidden, reporting)
        shown = [n for n in reporting if n not in held]
        for name in [*shown, *(["pooled"] if _enough(hidden, reporting, held) else [])]:
            out.setdefault(name, {})[target] = by_clinic[name][target]
    return out


def _round(entry: dict[str, Any], hidden: frozenset[str]) -> Iterator[dict[str, Any]]:
    held = _held(hidden, {*entry["clinics"], *entry["training"]})
    if _enough(hidden, entry["clinics"], held):
        shown = {kind: {n: f for n, f in entry[kind].items() if n not in held} for kind in ("clinics", "training")}
        yield {"round": entry["round"], "pooled": entry["pooled"], **shown}
