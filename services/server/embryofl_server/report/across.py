"""A run's results next to those of earlier runs: their spread over seeds, and their course over time.

Only runs that finished before this one was created count, so that a report that is written again stays the same.
"""

import logging
import statistics
import time
from typing import Any

from embryofl_server.runs.log import Run, Runs
from embryofl_server.runs.view import RunView

log = logging.getLogger("embryofl.report")

MOST_RUNS = 50
"""How many earlier runs are read, the newest first."""
METRICS = ("auroc", "auprc", "brier", "ece", "sensitivity", "specificity")

Results = dict[str, Any]


def earlier_results(run: Run) -> list[Results]:
    """`results.json` of the finished runs before this one, oldest first, each with its `date`."""
    earlier = []
    before = [r for r in Runs(run.folder.parent).all() if r.name < run.name and r.state["state"] == "finished"]
    for one in before[-MOST_RUNS:]:
        try:
            results = RunView(one).results()
            across_runs(results, [])  # damaged?
        except (OSError, KeyError, TypeError) as exc:
            log.warning(
                "%s: results.json cannot be read (%s): excluded next to %s", one.name, type(exc).__name__, run.name
            )
            continue
        if not results["incomplete"]:
            earlier.append({"date": time.strftime("%Y-%m-%d", time.gmtime(one.state["since"])), **results})
    return earlier


def across_runs(results: Results, earlier: list[Results]) -> dict[str, Any]:
    """Spread over seeds and course over time.

    Parameters
    ----------
    results : dict
        What `results.json` of this run holds.
    earlier : list of dict
        See `earlier_results`.

    Returns
    -------
    dict
        `seeds`: None, or `runs` (name, seed, date) with the same settings except for the seed, and the same clinics with as
        many test embryos; and for "pooled" and each clinic, day and metric `mean`, `sd` (of a sample), `low`, `high` and
        `runs`. `over_time`: this run and earlier ones with the same meaning of the label, oldest first: `run`, `date`,
        `seed`, `changed` (settings that differ from this run's), and `figures` on test patients.
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
                    who: {day: _entry(f) for day, f in days.items() if f["n"]} for who, days in _test(one).items()
                },
            }
            for one in [*alike, results]
        ],
    }


def _test(results: Results) -> dict[str, Results]:
    test = results["splits"]["test"]
    return {"pooled": test["pooled"], **test["clinics"]}


def _same_but_seed(one: Results, other: Results) -> bool:
    def embryos(results: Results) -> Results:
        return {who: {day: (f["n"], f["positives"]) for day, f in days.items()} for who, days in _test(results).items()}

    settings = [{**r["settings"], "seed": 0} for r in (one, other)]
    differ = one["settings"]["seed"] != other["settings"]["seed"]
    return differ and settings[0] == settings[1] and embryos(one) == embryos(other)


def _changed(settings: Results, now: Results) -> Results:
    return {key: value for key, value in sorted(settings.items()) if key != "seed" and now.get(key) != value}


def _values(f: Results) -> dict[str, float]:
    """The metrics that could be computed; of probabilities the calibrated ones, if there are any."""
    metrics = {**(f["after"] or f["before"]), **(f["confusion"] or {}), "auroc": f["auroc"], "auprc": f["auprc"]}
    return {name: metrics[name]["value"] for name in METRICS if metrics.get(name)}


def _entry(f: Results) -> Results:
    score = (f["after"] or f["before"])["mean_score"]
    return {"n": f["n"], "positives": f["positives"], "mean_score": score, **_values(f), "auroc": f["auroc"]}


def _spread(runs: list[Results]) -> Results:
    newest = {one["settings"]["seed"]: one for one in runs}  # the last of several runs with one seed
    tests = [_test(one) for one in newest.values()]
    return {
        "runs": [{"run": r["run"], "seed": seed, "date": r["date"]} for seed, r in newest.items()],
        "figures": {
            who: {day: _summaries([_values(test[who][day]) for test in tests]) for day, f in days.items() if f["n"]}
            for who, days in tests[-1].items()
        },
    }


def _summaries(runs: list[dict[str, float]]) -> Results:
    by_metric = {name: [run[name] for run in runs if name in run] for name in METRICS}
    return {
        name: {
            "mean": round(statistics.mean(values), 6),
            "sd": round(statistics.stdev(values), 6),
            "low": min(values),
            "high": max(values),
            "runs": len(values),
        }
        for name, values in by_metric.items()
        if len(values) > 1
    }
