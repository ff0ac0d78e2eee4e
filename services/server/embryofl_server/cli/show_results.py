"""A run's `results.json` as text for a terminal."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from embryofl.errors import UserError
from embryofl_server.report.pages import figure, signed, spread
from embryofl_server.runs.log import Runs

CURVE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
"""Threshold probabilities of the decision curve that are printed."""


def read_results(state_dir: Path, run: str = "") -> dict[str, Any]:
    """The results of a run, by default of the newest one that has any.

    Raises
    ------
    UserError
        When there are none.
    """
    runs = Runs(state_dir / "runs")
    wanted = [runs.get(run)] if run else runs.all()
    for found in reversed(wanted):
        file = found.folder / "results.json"
        if file.exists():
            results: dict[str, Any] = json.loads(file.read_text())
            return results
    if run:
        raise UserError(
            f"{run} has no results: it is {wanted[0].state['state']}. A run has them when it is over and has had a round."
        )
    raise UserError("No run has results yet. A run has them when it is over and has had a round.")


def results(found: dict[str, Any]) -> RenderableType:
    """Warnings, then figures on held-out patients: discrimination, threshold, calibration, decision curve, ranking."""
    test = found["splits"]["test"]
    parts: list[RenderableType] = [
        Text(f"{found['run']}: the model of round {found['round']} on held-out patients (test)")
    ]
    for warning in found["warnings"]:
        stop = warning["level"] == "stop"
        parts.append(
            Text(f"{'Stop' if stop else 'Warning'}: {warning['words']}", style="bold red" if stop else "yellow")
        )
    if test["pooled"]["all"]["n"]:
        parts += [_figures(found), _calibration(found), *_decision(test), *_ranking(test)]
    parts += _own_models(found)
    parts += _grades(found["grades"]["test"])
    parts += _across_runs(found.get("across_runs"))
    if held := found.get("held_back"):
        parts.append(
            Text(
                f"For you alone are the figures of single clinics: {', '.join(held)}. What others may see is "
                "model-card-public and results-public.json."
            )
        )
    parts.append(Text("Intervals are of 95 % and take embryos for independent. " + found["use"], style="dim"))
    return Group(*parts)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column)
    return table


def _rows(test: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Clinics and days in the order in which they are shown."""
    for name, days in [*test["clinics"].items(), ("all clinics", test["pooled"])]:
        for day, figures in days.items():
            yield name, "?" if day == "0" else day, figures


def _figures(found: dict[str, Any]) -> Table:
    threshold = found["threshold"]
    title = f"\nSensitivity and specificity at a score of {threshold['value']:.3f}: {threshold['rule']}"
    table = _table(title, "clinic", "day", "embryos", "good", "AUROC", "AUPRC", "sensitivity", "specificity")
    for name, day, f in _rows(found["splits"]["test"]):
        if f["n"]:
            rates = [figure(f["confusion"][key]) for key in ("sensitivity", "specificity")]
            table.add_row(name, day, str(f["n"]), str(f["positives"]), figure(f["auroc"]), figure(f["auprc"]), *rates)
        elif f["withheld"]:
            table.add_row(name, day, "too few")
    return table


def _calibration(found: dict[str, Any]) -> Table:
    learned = found["calibration"]
    title = "\nCalibration" + (
        f": log odds / {learned['temperature']:.3f} {learned['intercept']:+.3f}, learned on validation patients"
        if learned
        else ": none was learned"
    )
    table = _table(title, "clinic", "scores", "slope (1)", "in the large (0)", "ECE (0)", "Brier")
    for name, day, f in _rows(found["splits"]["test"]):
        if day != "all" or not f["n"]:
            continue
        for words, part in (("as they are", f["before"]), ("calibrated", f["after"])):
            if part:
                table.add_row(
                    name,
                    words,
                    signed(part["slope"]),
                    signed(part["in_the_large"]),
                    figure(part["ece"]),
                    figure(part["brier"]),
                )
    return table


def _decision(test: dict[str, Any]) -> Iterator[Table]:
    if not test["pooled"]["all"]["decision"]:
        return
    table = _table("\nNet benefit by threshold probability", "clinic", *(f"{p:g}" for p in CURVE))
    for name, day, f in _rows(test):
        if day == "all" and f["decision"]:
            at = {row["p"]: row for row in f["decision"]}
            table.add_row(name, *(f"{at[p]['model']:+.3f}" for p in CURVE))
    at = {row["p"]: row for row in test["pooled"]["all"]["decision"]}
    table.add_row("all called good", *(f"{at[p]['all']:+.3f}" for p in CURVE), style="dim")
    yield table


def _own_models(found: dict[str, Any]) -> Iterator[Table]:
    own = found.get("personal")
    if not own or not own["splits"]["test"]["clinics"]:
        return
    table = _table(
        "\nThe clinics' own models, each on its own clinic's patients",
        "clinic",
        "day",
        "embryos",
        "good",
        "AUROC, own",
        "AUROC, global",
    )
    for name, days in own["splits"]["test"]["clinics"].items():
        for day, f in days.items():
            shared = found["splits"]["test"]["clinics"].get(name, {}).get(day, {}).get("auroc")
            if f["n"]:
                table.add_row(
                    name,
                    "?" if day == "0" else day,
                    str(f["n"]),
                    str(f["positives"]),
                    figure(f["auroc"]),
                    figure(shared),
                )
    yield table


def _across_runs(found: dict[str, Any] | None) -> Iterator[Table]:
    if found and found["seeds"]:
        runs = ", ".join(f"{r['run']} (seed {r['seed']})" for r in found["seeds"]["runs"])
        table = _table(
            f"\nSpread over seeds: mean ± standard deviation (lowest to highest) of {runs}",
            "clinic",
            "day",
            "AUROC",
            "AUPRC",
        )
        for name, days in found["seeds"]["figures"].items():
            for day, f in days.items():
                clinic = "all clinics" if name == "pooled" else name
                table.add_row(clinic, "?" if day == "0" else day, spread(f.get("auroc")), spread(f.get("auprc")))
        yield table
    if found and len(found["over_time"]) > 1:
        table = _table("\nOver time, all clinics", "run", "date", "day", "embryos", "AUROC", "other settings")
        for one in found["over_time"]:
            changed = ", ".join(f"{key}: {value}" for key, value in one["changed"].items())
            for day, f in one["figures"].get("pooled", {}).items():
                table.add_row(
                    one["run"], one["date"], "?" if day == "0" else day, str(f["n"]), figure(f["auroc"]), changed
                )
        yield table


def _grades(test: dict[str, Any]) -> Iterator[Table]:
    if not test:
        return
    table = _table("\nGardner grades", "clinic", "grade", "embryos", "agree exactly", "mean distance in levels")
    for name, targets in test.items():
        for target, a in targets.items():
            clinic = "all clinics" if name == "pooled" else name
            table.add_row(clinic, target, str(a["embryos"]), f"{a['exact']:.2f}", f"{a['distance']:.2f}")
    yield table


def _ranking(test: dict[str, Any]) -> Iterator[Table]:
    pooled = test["pooled"]["all"]["ranking"]
    if not pooled["cohorts"] and not pooled["withheld"]:
        return
    table = _table(
        "\nRanking within cohorts (one patient's embryos of one day, good and other ones among them)",
        "clinic",
        "cohorts",
        "best is good",
        "by chance",
        "NDCG",
        "tau",
        "critical error",
    )
    for name, day, f in _rows(test):
        r = f["ranking"]
        if day != "all":
            continue
        if r["cohorts"]:
            table.add_row(
                name,
                str(r["cohorts"]),
                signed(r["top"]),
                f"{r['chance']:.2f}",
                signed(r["ndcg"]),
                signed(r["tau"]),
                signed(r["critical"]),
            )
        elif r["withheld"]:
            table.add_row(name, "too few")
    yield table
