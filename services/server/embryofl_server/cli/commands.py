"""`embryofl-server`: run the hub, and steer it from a terminal. Heavy imports happen inside the commands."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from embryofl.errors import UserError, run_command
from embryofl_server.cli.call import hub_call
from embryofl_server.cli.members import app as members

app = typer.Typer(help="The EmbryoFL hub.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(members)  # without a name: its commands are commands of this one


@app.command()
def serve() -> None:
    """Run the hub's server until it is told to stop."""
    from embryofl_server.api.serve import serve as run

    run()


@app.command()
def start(
    option: Annotated[
        list[str] | None, typer.Option("--set", help="A run setting as name=value, such as rounds=15. Repeatable.")
    ] = None,
    initial: Annotated[str, typer.Option(help="Start from these weights (safetensors, on the server).")] = "",
    follow: Annotated[bool, typer.Option(help="Show progress until the run is over.")] = False,
) -> None:
    """Start a run with all enrolled clinics; while another one is under way it waits for its turn."""
    from embryofl_server.federation.run_settings import parse_settings

    run = hub_call("POST", "/control/runs", {"settings": parse_settings(option or []), "initial": initial})
    typer.echo(f"{run['name']} is queued: {run['settings']['model']}, {run['settings']['rounds']} rounds.")
    if follow:
        status(json_=False, follow=True)


RunArgument = Annotated[str, typer.Argument(help="The run's name, such as run-0002; by default the one under way.")]


@app.command()
def stop(run: RunArgument = "") -> None:
    """Stop a run for good (its last complete round is kept)."""
    found = hub_call("POST", "/control/stop", {"run": run})
    typer.echo(f"{found['name']} is being stopped; it keeps round {found['round']}.")


@app.command()
def pause(run: RunArgument = "") -> None:
    """Lay a run aside until `continue`, also across restarts of the hub. The round under way is done again then."""
    found = hub_call("POST", "/control/pause", {"run": run})
    typer.echo(f"{found['name']} is being paused after round {found['round']}. Go on with: embryofl-server continue")


@app.command("continue")
def continue_(run: RunArgument = "") -> None:
    """Go on with a paused run."""
    found = hub_call("POST", "/control/continue", {"run": run})
    typer.echo(f"{found['name']} goes on after round {found['round']}.")


@app.command()
def status(
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    follow: Annotated[bool, typer.Option(help="Show progress until the run is over.")] = False,
) -> None:
    """Show the run, the round, each clinic's state and last metrics, and what is being waited for."""
    from embryofl_server.cli import show

    def fetch() -> Any:
        return hub_call("GET", "/control/status" if json_ and not follow else "/control/status?metrics=newest")

    console = show.make_console()
    info = show.follow(console, fetch) if follow else fetch()
    if json_:
        typer.echo(json.dumps(info, indent=1))
    else:
        show.print_status(console, info)
    if follow and info["run"] and info["run"]["state"] != "finished":
        raise typer.Exit(1)


@app.command()
def runs(json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List all runs."""
    found = hub_call("GET", "/control/runs")
    if json_:
        typer.echo(json.dumps(found, indent=1))
        return
    for run in found:
        s = run["settings"]
        typer.echo(
            f"{run['name']}  {run['state']:9} round {run['round']}/{s['rounds']}  {s['model']} {s['strategy']} "
            f"seed {s['seed']}  {run['reason']}".rstrip()
        )
    if not found:
        typer.echo("No run yet. Start one with: embryofl-server start")


@app.command()
def results(
    run: Annotated[str, typer.Argument(help="The run's name; by default the newest that has results.")] = "",
    json_: Annotated[bool, typer.Option("--json", help="Print results.json.")] = False,
) -> None:
    """Show a run's figures on held-out patients: with intervals, threshold, calibration, decision curve, ranking."""
    from embryofl_server.cli import show, show_results
    from embryofl_server.settings import load_settings

    found = show_results.read_results(load_settings().state_dir, run)
    if json_:
        typer.echo(json.dumps(found, indent=1))
    else:
        show.make_console().print(show_results.results(found))


@app.command()
def health(url: Annotated[str, typer.Argument()], ca: Annotated[Path, typer.Option()]) -> None:
    """Exit with 0 when URL answers below 500 under the certificate authority CA (used by container health checks)."""
    import ssl
    import urllib.error

    from embryofl_server.api.client import direct

    try:
        direct(ssl.create_default_context(cafile=str(ca))).open(url, timeout=5)
    except urllib.error.HTTPError as exc:
        if exc.code >= 500:
            raise UserError(f"{url} answers {exc.code}.") from None
    except OSError as exc:
        raise UserError(f"{url} does not answer: {getattr(exc, 'reason', exc)}.") from None


@app.command()
def backup(file: Annotated[str, typer.Argument(help="Where to write it; - is standard output.")]) -> None:
    """Write the hub's whole state into one archive, also while a run goes on. It holds the hub's private keys."""
    from embryofl_server.settings import load_settings
    from embryofl_server.state.backup import opened_for_writing, write_backup

    with opened_for_writing(file) as out:
        found = write_backup(load_settings(), out)
    typer.echo(
        f"{found.runs} runs, {found.clinics} clinics, {found.size / 1e6:.1f} MB. The archive holds the hub's private keys: "
        "keep it as safe as the hub itself.",
        err=True,
    )


@app.command()
def restore(file: Annotated[str, typer.Argument(help="A file that `backup` wrote; - is standard input.")]) -> None:
    """Put a backup into this (empty) state folder. The hub has the same identity then: clinics go on unchanged."""
    from embryofl_server.settings import load_settings
    from embryofl_server.state.backup import opened_for_reading, read_backup

    with opened_for_reading(file) as source:
        found = read_backup(load_settings(), source)
    typer.echo(f"Restored: {found.runs} runs, {found.clinics} clinics, {found.size / 1e6:.1f} MB.")


audit = typer.Typer(help="The audit log: what happened to whom, chained line by line.", no_args_is_help=True)
app.add_typer(audit, name="audit")


@audit.command("verify")
def audit_verify() -> None:
    """Say whether the audit log is as it was written, or where it was broken (exit code 1)."""
    from embryofl_server.audit.reading import verify_log
    from embryofl_server.settings import load_settings

    whole, words = verify_log(load_settings().state_dir)
    typer.echo(words)
    if not whole:
        raise typer.Exit(1)


@audit.command("show")
def audit_show(
    event: Annotated[list[str] | None, typer.Option(help="Only events of this kind. Repeatable.")] = None,
    clinic: Annotated[str, typer.Option(help="Only what concerns this clinic.")] = "",
    run: Annotated[str, typer.Option(help="Only what concerns this run.")] = "",
    since: Annotated[str, typer.Option(help="Only from this day (2026-01-31) or moment (2026-01-31T12:00) on.")] = "",
    last: Annotated[int, typer.Option(min=0, help="Only the newest so many; 0 is all.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """Print the audit log, oldest first."""
    from embryofl_server.audit.reading import Filter, as_text, chosen
    from embryofl_server.settings import load_settings

    wanted = Filter(tuple(event or ()), clinic, run, since, last)
    for entry in chosen(load_settings().state_dir, wanted):
        typer.echo(json.dumps(entry) if json_ else as_text(entry))


def main() -> None:
    """Entry point."""
    run_command(app)
