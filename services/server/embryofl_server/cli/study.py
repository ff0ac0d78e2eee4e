"""`embryofl-server study`: several runs that answer one question. Nothing is kept but the runs, whose notes say what they
are for: the same command continues a study that was interrupted."""

import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from embryofl.command_line import command_line
from embryofl.errors import UserError
from embryofl.settings import RunSettings
from embryofl.states import OVER, RUN, label
from embryofl_server.api.client import call
from embryofl_server.cli.text import AsJson, output, table
from embryofl_server.report.numbers import metric

app = command_line("Studies of several runs.")
LEAST = 3  # clinics of a study: with fewer, a single one trains
POLL_S = 1.0
NOTE = "Leave-one-clinic-out study: without {}."


@app.command("leave-one-out")
def leave_one_out(
    option: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of all runs as name=value, such as rounds=15. Repeatable."),
    ] = None,
    json_: AsJson = False,
    html: Annotated[bool, typer.Option("--html", help="Print a page with a forest plot.")] = False,
) -> None:
    """Train without each clinic in turn, and validate each model at the clinic that was left out.

    With all enrolled clinics, or those of --set clinics=A,B,C. The same command again continues an interrupted study.
    """
    from embryofl_server.federation.run_settings import parse_settings
    from embryofl_server.report import leave_one_out as report

    settings = parse_settings(option or [])
    clinics = _clinics(RunSettings(clinics=settings.pop("clinics", "")).clinics)
    runs = {}
    for number, clinic in enumerate(clinics, 1):
        without = {**settings, "clinics": [name for name in clinics if name != clinic]}
        runs[clinic] = _results(clinic, without, f"{number} of {len(clinics)}, without {clinic}")
    study = report.leave_one_out(runs)
    if html:
        typer.echo(report.html(study))
    else:
        output(study, json_, lambda shown: study_text(shown, report.in_words(shown)))


def study_text(study: dict[str, Any], words: list[str]) -> RenderableType:
    """A line for each clinic, then all together."""
    columns = ("clinic left out", "run", "embryos", "label 1", "AUROC, internal", "AUROC, external")
    shown = table(*columns, title="Leave-one-clinic-out study")
    for row in study["rows"]:
        outside = row["external"]
        aurocs = metric(row["internal"]["auroc"]), row["why"] or metric(outside["auroc"])
        shown.add_row(row["clinic"], row["run"], str(outside["n"]), str(outside["positives"]), *aurocs)
    return Group(shown, *map(Text, words))


def _clinics(named: Sequence[str]) -> list[str]:
    """The clinics of the study; `UserError` if it cannot be made with them."""
    members = {clinic["name"]: clinic for clinic in call("GET", "/control/clinics") if clinic["state"] == "enrolled"}
    clinics = sorted({*named}) or sorted(members)
    if unknown := [name for name in clinics if name not in members]:
        raise UserError("R1", f"{', '.join(unknown)} are not enrolled. Enrolled clinics: {', '.join(sorted(members))}.")
    if len(clinics) < LEAST:
        raise UserError("R1", f"A leave-one-clinic-out study needs {LEAST} clinics or more; there are {len(clinics)}.")
    if others := [name for name in clinics if members[name]["metrics"] != "own"]:
        raise UserError(
            "R1",
            f"{', '.join(others)} release no metrics of their own (metrics in their policy), so that nothing can be "
            "told of them when they are left out. Ask them, or name the clinics of the study: --set clinics=A,B,C",
        )
    return clinics


def _results(clinic: str, settings: dict[str, Any], words: str) -> dict[str, Any]:
    """Of the run without a clinic, which is made if there is none, and validated at the clinic if it was not."""
    run = _run(clinic, settings)
    _wait(run, f"{words}: training")
    results: dict[str, Any] = call("GET", f"/control/runs/{run}/results")
    if clinic not in (results["external"] or {"clinics": {}})["clinics"]:
        call("POST", "/control/validate", {"run": run, "clinics": [clinic]})
        _wait(run, f"{words}: validation")
        results = call("GET", f"/control/runs/{run}/results")
    return results


def _run(clinic: str, settings: dict[str, Any]) -> str:
    """The name of the run without a clinic: that of an interrupted study, or a new one."""
    note = NOTE.format(clinic)
    wanted = call("POST", "/control/estimate", {"settings": settings})["settings"]
    if "seed" not in settings:
        del wanted["seed"]
    elif RunSettings(**wanted).masked_weights:
        raise UserError(
            "R1",
            "With masks, runs of one study cannot begin from the same model. Leave out seed: each run draws its own.",
        )
    for run in reversed(call("GET", "/control/runs")):
        same = run["note"] == note and wanted.items() <= run["settings"].items()
        if same and run["state"] not in ("stopped", "failed"):
            return str(run["name"])
    return str(call("POST", "/control/runs", {"settings": settings, "note": note})["name"])


def _wait(run: str, words: str) -> None:
    """Wait until a run is over, and show each change; `UserError` if it has no end."""
    last = ""
    while (now := call("GET", f"/control/runs/{run}/outline"))["state"] not in OVER:
        line = f"{words}, {run}: {label(RUN, now['state'])}, round {now['round']} of {now['settings']['rounds']}"
        if line != last:
            typer.echo(line, err=True)
        last = line
        time.sleep(POLL_S)
    if now["state"] != "finished":
        raise UserError("R2", f"{run} is {now['state']}: {now['reason']} The same command again makes another.")
