"""What a run's figures are beside those of earlier runs: spread over seeds, and their course over time.

Only runs that finished before this one was made count, so that a report that is written again is the same.
"""

import json
import logging
import statistics
import time
from typing import Any

from embryofl_server.runs.log import Run, Runs

log = logging.getLogger("embryofl.report")

MOST_RUNS = 50
"""So many earlier runs are looked at, the newest."""
FIGURES = ("auroc", "auprc", "brier", "ece", "sensitivity", "specificity")

Results = dict[str, Any]


def earlier_results(run: Run) -> list[Results]:
    """`results.json` of the finished runs before this one, oldest first, each with its `date`."""
    found = []
    before = [r for r in Runs(run.folder.parent).all() if r.name < run.name and r.state["state"] == "finished"]
    for one in before[-MOST_RUNS:]:
        try:
            results = json.loads((one.folder / "results.json").read_text())
            across_runs(results, [])  # of another version?
        except (OSError, ValueError, KeyError, TypeError) as exc:
            log.warning(
                "%s: results.json cannot be read (%s): left out beside %s", one.name, type(exc).__name__, run.name
            )
            continue
        if not results["incomplete"]:
            found.append({"date": time.strftime("%Y-%m-%d", time.gmtime(one.state["since"])), **results})
    return found


def across_runs(results: Results, earlier: list[Results]) -> dict[str, Any]:
    """Spread and course.

    Parameters
    ----------
    results : dict
        What `results.json` of this run holds.
    earlier : list of dict
        See `earlier_results`.

    Returns
    -------
    dict
        `seeds`: None, or `runs` (name, seed, date) that have all settings but the seed in common with this one, and the
        same clinics with as many held-out embryos; and for "pooled" and each clinic, day and figure `mean`, `sd` (of a
        sample), `low`, `high` and `runs`. `over_time`: this run and earlier ones with the same meaning of the label, oldest
        first: `run`, `date`, `seed`, `changed` (settings that are others than this run's), and `figures` on held-out
        patients.
    """
    alike = [one for one in earlier if one["meaning"] == results["meaning"]]
    seeds = [one for one in alike if _same_but_seed(one, results)]
    return {
        "seeds": _spread([*seeds, results]) if seeds else None,
        "over_time": [
            {
                "run": one["run"],
                "date": one.get("date", ""),
                "seed": one["settings"]["seed"],
                "changed": _changed(one["settings"], results["settings"]),
                "figures": {
                    who: {day: _entry(f) for day, f in days.items() if f["n"]} for who, days in _told(one).items()
                },
            }
            for one in [*alike, results]
        ],
    }


def _told(results: Results) -> dict[str, Results]:
    test = results["splits"]["test"]
    return {"pooled": test["pooled"], **test["clinics"]}


def _same_but_seed(one: Results, other: Results) -> bool:
    def held_out(results: Results) -> Results:
        return {who: {day: (f["n"], f["positives"]) for day, f in days.items()} for who, days in _told(results).items()}

    settings = [{**r["settings"], "seed": 0} for r in (one, other)]
    seeds = {one["settings"]["seed"], other["settings"]["seed"]}
    return len(seeds) == 2 and settings[0] == settings[1] and held_out(one) == held_out(other)


def _changed(settings: Results, now: Results) -> Results:
    return {key: value for key, value in sorted(settings.items()) if key != "seed" and now.get(key) != value}


def _values(f: Results) -> dict[str, float]:
    """The figures of some embryos that can be computed; of probabilities the calibrated ones, where there are any."""
    probabilities, counts = f["after"] or f["before"], f["confusion"] or {}
    found = {
        "auroc": f["auroc"],
        "auprc": f["auprc"],
        "brier": probabilities["brier"],
        "ece": probabilities["ece"],
        "sensitivity": counts.get("sensitivity"),
        "specificity": counts.get("specificity"),
    }
    return {name: figure["value"] for name, figure in found.items() if figure}


def _entry(f: Results) -> Results:
    score = (f["after"] or f["before"])["mean_score"]
    return {"n": f["n"], "positives": f["positives"], "mean_score": score, "auroc": f["auroc"], **_rest(f)}


def _rest(f: Results) -> Results:
    return {name: value for name, value in _values(f).items() if name != "auroc"}


def _spread(runs: list[Results]) -> Results:
    newest = {one["settings"]["seed"]: one for one in runs}  # of runs with the same seed the last
    told = [_told(one) for one in newest.values()]
    return {
        "runs": [{"run": r["run"], "seed": seed, "date": r["date"]} for seed, r in newest.items()],
        "figures": {
            who: {day: _summaries([_values(one[who][day]) for one in told]) for day, f in days.items() if f["n"]}
            for who, days in told[-1].items()
        },
    }


def _summaries(values: list[dict[str, float]]) -> Results:
    found = {}
    for name in FIGURES:
        known = [one[name] for one in values if name in one]
        if len(known) > 1:
            found[name] = {
                "mean": round(statistics.mean(known), 6),
                "sd": round(statistics.stdev(known), 6),
                "low": min(known),
                "high": max(known),
                "runs": len(known),
            }
    return found
