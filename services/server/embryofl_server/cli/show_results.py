"""A run's `results.json` as text for a terminal."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from embryofl.errors import UserError
from embryofl_server.cli.text import table
from embryofl_server.report.card import METRICS
from embryofl_server.report.numbers import clinic_label, day_label, metric, number, signed, spread
from embryofl_server.runs.log import Runs
from embryofl_server.runs.view import RunView

CURVE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
"""Threshold probabilities of the decision curve that are printed."""
_WHEN = "They appear when a run has ended after at least one complete round."

Results = dict[str, Any]


def read_results(state_dir: Path, run: str = "") -> Results:
    """The results of a run, by default of the newest one that has any.

    Raises
    ------
    UserError
        If there are none.
    """
    runs = Runs(state_dir / "runs")
    candidates = [runs.get(run)] if run else runs.all()
    for candidate in reversed(candidates):
        if results := RunView(candidate).results():
            return results
    if run:
        raise UserError("R2", f"{run} has no results: it is {candidates[0].state['state']}. {_WHEN}")
    raise UserError("R2", f"No results yet. {_WHEN}")


def read_card(state_dir: Path, run: str, whose: str = "") -> tuple[Results, Results]:
    """Model card and results of a run, or with "-public" what others may see of them; `UserError` as `read_results`."""
    folder = Runs(state_dir / "runs").get(read_results(state_dir, run)["run"]).folder
    files = (folder / f"{name}{whose}.json" for name in ("model-card", "results"))
    card, results = (json.loads(file.read_text()) for file in files)
    return card, results


def results_text(results: Results) -> RenderableType:
    """Warnings, then results on test patients: discrimination, threshold, calibration, decision curve, ranking."""
    test = results["splits"]["test"]
    parts: list[RenderableType] = [Text(f"{results['run']}: the model of round {results['round']} on test patients")]
    if clinics := results["settings"]["clinics"]:
        parts.append(Text(f"Clinics of this run: {', '.join(clinics)}"))
    parts += [Text(results["updates"]), Text(results["metrics_seen"])]
    for warning in results["warnings"]:
        title, style = ("Stop", "bold red") if warning["level"] == "stop" else ("Warning", "yellow")
        parts.append(Text(f"{title}: {warning['words']}", style=style))
    if test["pooled"]["all"]["n"]:
        parts += [_discrimination(results), _calibration(results), *_decision(test), *_ranking(test)]
    parts += [
        *_external(results["external"]),
        *_personal(results),
        *_grades(results["grades"]["test"]),
        *_across_runs(results["across_runs"]),
    ]
    if results["audit"]:
        parts += [Text("\nAudit: who was trained on", style="bold"), audit_text(results["audit"])]
    if hidden := results.get("held_back"):
        parts.append(
            Text(
                f"For the coordinator only: results of single clinics that hide them: {', '.join(hidden)}. What others may "
                "see is in model-card-public and results-public.json."
            )
        )
    parts.append(Text("Intervals are 95 % and treat embryos as independent. " + results["use"], style="dim"))
    return Group(*parts)


def audit_text(audit: Results) -> RenderableType:
    """What an audit has found."""
    return Text("\n".join(audit["words"]))


def _rows(test: Results) -> Iterator[tuple[str, str, Results]]:
    """Clinics and days in the order in which they are shown."""
    for name, days in [*test["clinics"].items(), (test["whose"], test["pooled"])]:
        for day, f in days.items():
            yield name, day_label(day), f


def _discrimination(results: Results) -> Table:
    threshold = results["threshold"]
    title = f"\nSensitivity and specificity at a score of {number(threshold['value'])}: {threshold['rule']}"
    columns = ("clinic", "day", "embryos", "label 1", "AUROC", "AUPRC", "sensitivity", "specificity")
    shown = table(*columns, title=title)
    for name, day, f in _rows(results["splits"]["test"]):
        if f["n"]:
            values = (f["auroc"], f["auprc"], f["confusion"]["sensitivity"], f["confusion"]["specificity"])
            shown.add_row(name, day, str(f["n"]), str(f["positives"]), *map(metric, values))
        elif f["withheld"]:
            shown.add_row(name, day, "withheld")
    return shown


def _calibration(results: Results) -> Table:
    learned = results["calibration"]
    title = "\nCalibration: none was learned"
    if learned:
        formula = f"log odds / {learned['temperature']:.3f} {learned['intercept']:+.3f}"
        title = f"\nCalibration: {formula}, learned on validation patients"
    shown = table("clinic", "scores", "slope (1)", "in the large (0)", "ECE (0)", "Brier", title=title)
    for name, day, f in _rows(results["splits"]["test"]):
        for scores, part in (("uncalibrated", f["before"]), ("calibrated", f["after"])):
            if day == "all" and f["n"] and part:
                slopes, errors = (part["slope"], part["in_the_large"]), (part["ece"], part["brier"])
                shown.add_row(name, scores, *map(signed, slopes), *map(metric, errors))
    return shown


def _decision(test: Results) -> Iterator[Table]:
    if not test["pooled"]["all"]["decision"]:
        return
    shown = table("clinic", *(f"{p:g}" for p in CURVE), title="\nNet benefit by threshold probability")

    def row(name: str, f: Results, key: str, style: str | None = None) -> None:
        at = {row["p"]: row for row in f["decision"]}
        shown.add_row(name, *(f"{at[p][key]:+.3f}" for p in CURVE), style=style)

    for name, day, f in _rows(test):
        if day == "all" and f["decision"]:
            row(name, f, "model")
    row("all predicted 1", test["pooled"]["all"], "all", "dim")
    yield shown


def _ranking(test: Results) -> Iterator[Table]:
    pooled = test["pooled"]["all"]["ranking"]
    if not pooled["cohorts"] and not pooled["withheld"]:
        return
    columns = ("clinic", "cohorts", "best has label 1", "by chance", "NDCG", "tau", "critical error")
    shown = table(*columns, title="\nRanking within mixed cohorts (one patient's embryos of one day, with both labels)")
    for name, day, f in _rows(test):
        r = f["ranking"]
        if day == "all" and r["cohorts"]:
            rest = (r["ndcg"], r["tau"], r["critical"])
            shown.add_row(name, str(r["cohorts"]), signed(r["top"]), number(r["chance"], 2), *map(signed, rest))
        elif day == "all" and r["withheld"]:
            shown.add_row(name, "withheld")
    yield shown


def _external(external: Results | None) -> Iterator[RenderableType]:
    if external is None:
        return
    shown = table("", "internal", "external", "difference", title="\nExternal validation")
    for row in external["compared"]:
        shown.add_row(METRICS[row["metric"]], *(metric(row[key]) for key in ("internal", "external", "difference")))
    yield shown
    for one in external["validations"]:
        yield Text(f"{one['date']}: {', '.join(one['clinics'])}. {one['incomplete']}".rstrip())
        yield from (Text(f"{name} did not answer: {why}", style="yellow") for name, why in one["why"].items())
    if external["origin"]:
        yield Text(external["origin"])


def _personal(results: Results) -> Iterator[Table]:
    personal = results["personal"]
    if not personal or not personal["splits"]["test"]["clinics"]:
        return
    title = "\nPersonal models, each on its own clinic's test patients"
    shown = table("clinic", "day", "embryos", "label 1", "AUROC, personal", "AUROC, global", title=title)
    for name, days in personal["splits"]["test"]["clinics"].items():
        for day, f in days.items():
            shared = results["splits"]["test"]["clinics"].get(name, {}).get(day, {}).get("auroc")
            if f["n"]:
                aurocs = (metric(f["auroc"]), metric(shared))
                shown.add_row(name, day_label(day), str(f["n"]), str(f["positives"]), *aurocs)
    yield shown


def _grades(test: Results) -> Iterator[Table]:
    if not test:
        return
    columns = ("clinic", "grade", "embryos", "exact agreement", "mean distance in levels")
    shown = table(*columns, title="\nGardner grades")
    for name, targets in test.items():
        for target, a in targets.items():
            agreement = (number(a["exact"], 2), number(a["distance"], 2))
            shown.add_row(clinic_label(name), target, str(a["embryos"]), *agreement)
    yield shown


def _across_runs(across: Results) -> Iterator[Table]:
    if across["seeds"]:
        runs = ", ".join(f"{r['run']} (seed {r['seed']})" for r in across["seeds"]["runs"])
        title = f"\nSpread over seeds: mean ± standard deviation (lowest to highest) of {runs}"
        shown = table("clinic", "day", "AUROC", "AUPRC", title=title)
        for name, days in across["seeds"]["figures"].items():
            for day, f in days.items():
                shown.add_row(clinic_label(name), day_label(day), spread(f.get("auroc")), spread(f.get("auprc")))
        yield shown
    if len(across["over_time"]) > 1:
        columns = ("run", "date", "day", "embryos", "AUROC", "other settings")
        shown = table(*columns, title="\nOver time, all clinics")
        for run in across["over_time"]:
            changed = ", ".join(f"{key}: {value}" for key, value in run["changed"].items())
            for day, f in run["figures"].get("pooled", {}).items():
                shown.add_row(run["run"], run["date"], day_label(day), str(f["n"]), metric(f["auroc"]), changed)
        yield shown
