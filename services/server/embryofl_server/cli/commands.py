"""`embryofl-server`: run the hub, and control it from a terminal."""

import json
import re
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import click
import typer
from rich.markdown import Markdown
from typer.core import TyperGroup

from embryofl import exits
from embryofl.command_line import command_line, run_command
from embryofl.errors import UserError
from embryofl.troubles import explain_code
from embryofl_server.api.client import call, log_in, log_out
from embryofl_server.audit.reading import Filter, format_event, head_of, read_anchor, select_events, verify_log
from embryofl_server.cli import show
from embryofl_server.cli.local import app as local
from embryofl_server.cli.members import app as members
from embryofl_server.cli.notifier import app as notifier
from embryofl_server.cli.people import app as people
from embryofl_server.cli.second_person import app as second_person
from embryofl_server.cli.secret import ask_code, ask_password, ask_secret
from embryofl_server.cli.show_results import audit_text, read_card, read_results, results_text
from embryofl_server.cli.signer import app as signer
from embryofl_server.cli.study import app as study
from embryofl_server.cli.text import AsJson, output
from embryofl_server.members import restored
from embryofl_server.settings import load_settings

app = command_line("The EmbryoFL hub.")
app.add_typer(members)  # without a name: its commands are commands of this one
app.add_typer(second_person)
app.add_typer(people, name="people")
app.add_typer(signer, name="signer")
app.add_typer(notifier, name="notifier")
app.add_typer(study, name="study")


@app.callback()
def act_as(
    context: typer.Context,
    person: Annotated[
        str, typer.Option("--as", help="Act as this person, whose password is asked for; else as the local operator.")
    ] = "",
) -> None:
    """The EmbryoFL hub."""
    if person:
        password = ask_password(person, new=False)
        log_in(person, password, ask_code() if call("GET", "/control/login")["coded"] else "")
        context.call_on_close(log_out)


@app.command()
def serve() -> None:
    """Run the hub's server until it is stopped."""
    from embryofl_server.api.app import serve as run  # FastAPI and flwr: a second that no other command needs

    run()


@app.command()
def superlink(
    host: Annotated[str, typer.Option(help="Address on which it listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Its port.")] = 8000,
    identity: Annotated[Path, typer.Option(help="Folder of its certificate and secret.")] = Path(
        "/hub/identity/superlink"
    ),
) -> None:
    """Run Flower's SuperLink until it is stopped; only the server may use its Control API."""
    from embryofl_server.federation.superlink_process import serve as run  # flwr: as above

    run(host, port, identity)


@app.command()
def start(
    option: Annotated[
        list[str] | None, typer.Option("--set", help="A run setting as name=value, such as rounds=15. Repeatable.")
    ] = None,
    initial: Annotated[str, typer.Option(help="Start from these weights (safetensors, on the server).")] = "",
    follow: Annotated[bool, typer.Option(help="Show progress until the run is over.")] = False,
) -> None:
    """Start a run with all enrolled clinics, or those of --set clinics=A,B. It is queued while another run is under way."""
    from embryofl_server.federation.run_settings import parse_settings  # all strategies, for one command

    run = call("POST", "/control/runs", {"settings": parse_settings(option or []), "initial": initial})
    typer.echo(
        f"{run['name']} is queued: {run['settings']['model']}, {run['settings']['rounds']} rounds. {run['updates']} "
        f"{run['metrics_seen']}"
    )
    if follow:
        status(json_=False, follow=True)


RUN = r"run-\d+"
AUDIT_POLL_S = 1.0
RunArgument = Annotated[str, typer.Argument(help="The run's name, such as run-0002; by default the current one.")]


@app.command()
def stop(run: RunArgument = "") -> None:
    """Stop a run permanently. Its last complete round is kept."""
    stopped = call("POST", "/control/stop", {"run": run})
    typer.echo(f"{stopped['name']} is being stopped; it keeps round {stopped['round']}.")


@app.command()
def pause(run: RunArgument = "") -> None:
    """Pause a run until `resume`, even across hub restarts. The interrupted round is then repeated."""
    paused = call("POST", "/control/pause", {"run": run})
    name = paused["name"]
    typer.echo(f"{name} is being paused after round {paused['round']}. To resume it: embryofl-server resume {name}")


@app.command()
@app.command("continue", hidden=True)
def resume(run: RunArgument = "") -> None:
    """Resume a paused run. (To lift a clinic's suspension: `reinstate`.)"""
    is_run = not run or re.fullmatch(RUN, run)
    if not is_run and run in [clinic["name"] for clinic in call("GET", "/control/clinics")]:
        raise UserError("R2", f"{run} is a clinic. To lift its suspension: reinstate {run}")
    resumed = call("POST", "/control/continue", {"run": run})
    typer.echo(f"{resumed['name']} is resumed after round {resumed['round']}.")


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="A finished run, such as run-0003.")],
    at: Annotated[str, typer.Option(help="Clinics that had no part in it, with commas.")],
) -> None:
    """Validate a run's final model at other clinics. It begins when the run under way has ended."""
    clinics = [name for name in at.replace(" ", "").split(",") if name]
    queued = call("POST", "/control/validate", {"run": run, "clinics": clinics})
    typer.echo(f"{queued['name']}: {queued['reason']} Follow it with: embryofl-server status")


@app.command()
def status(
    json_: AsJson = False, follow: Annotated[bool, typer.Option(help="Show progress until the run is over.")] = False
) -> None:
    """Show run, round, clinics and their latest metrics, and what the hub is waiting for."""

    def fetch() -> Any:
        return call("GET", "/control/status" if json_ and not follow else "/control/status?metrics=newest")

    console = show.make_console()
    info = show.follow(console, fetch) if follow else fetch()
    if json_:
        typer.echo(json.dumps(info, indent=1))
    else:
        show.print_status(console, info)
    if follow and info["run"] and info["run"]["state"] != "finished":
        raise typer.Exit(exits.NO)


@app.command()
def runs(json_: AsJson = False) -> None:
    """List all runs."""
    output(call("GET", "/control/runs"), json_, show.run_list)


@app.command()
def results(
    run: Annotated[str, typer.Argument(help="The run's name; by default the newest that has results.")] = "",
    json_: Annotated[bool, typer.Option("--json", help="Print results.json.")] = False,
) -> None:
    """Show a run's results on test patients: intervals, threshold, calibration, decision curve, ranking."""
    output(read_results(load_settings().state_dir, run), json_, results_text)


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="The run's name; by default the newest that has results.")] = "",
    public: Annotated[bool, typer.Option("--public", help="Only what others may see.")] = False,
) -> None:
    """Print a run's report as an HTML page: methods in sentences, flow of embryos, results, references as BibTeX."""
    from embryofl_server.report.methods import report as page

    typer.echo(page(*read_card(load_settings().state_dir, run, "-public" if public else "")))


@app.command()
def explain(code: Annotated[str, typer.Argument(help="The code that an error ends with, such as R4.")]) -> None:
    """Show cause and remedy of an error."""
    show.make_console().print(Markdown(explain_code(code), hyperlinks=False))


@app.command()
def backup(
    file: Annotated[str, typer.Argument(help="The archive to write; - is standard output.")],
    authority: Annotated[str, typer.Option(help="The file of `signer backup`; - is the rest of standard input.")],
    to: Annotated[str, typer.Option(help="Encrypt to this public key of age (age1...), not to a passphrase.")] = "",
) -> None:
    """Write the hub's complete state into one encrypted archive, even during a run. It holds the hub's private keys.

    `make backup` gives this command and `signer backup` the same passphrase. It is asked for; without a terminal it is the
    first line of standard input.
    """
    from embryofl_server.state.backup import (
        opened_for_reading,
        opened_for_writing,
        write_backup,
    )  # pyrage, for this alone

    passphrase = "" if to else ask_secret(new=True)
    with opened_for_reading(authority) as source:
        sealed = source.read()
    with opened_for_writing(file) as out:
        contents = write_backup(load_settings(), out, sealed, passphrase, to)
    typer.echo(
        f"{contents.runs} runs, {contents.clinics} clinics, {contents.size / 1e6:.1f} MB, encrypted to "
        f"{to or 'the passphrase'}. Without {'its private key' if to else 'it'} nobody can restore the archive.",
        err=True,
    )


@app.command()
def restore(
    file: Annotated[str, typer.Argument(help="An archive written by `backup`; - is standard input.")],
    authority: Annotated[str, typer.Option(help="The file to write for `signer restore`; - is standard output.")],
    revoked: Annotated[str, typer.Option(help=f"Clinics revoked since then, with commas, or {restored.NONE}.")] = "",
) -> None:
    """Restore a backup into this (empty) state folder. The hub keeps its identity, so clinics reconnect unchanged.

    The passphrase or private key is asked for; without a terminal it is the first line of standard input. `make restore`
    then gives both to `signer restore`.
    """
    from embryofl_server.state.backup import opened_for_reading, opened_for_writing, read_backup

    settle = partial(restored.settle, revoked=revoked)
    with opened_for_reading(file) as source:
        contents = read_backup(load_settings(), source, ask_secret(new=False), settle)
    with opened_for_writing(authority) as out:
        out.write(contents.authority)
    typer.echo(f"Restored: {contents.runs} runs, {contents.clinics} clinics, {contents.size / 1e6:.1f} MB.", err=True)


class AuditCommands(TyperGroup):
    """The commands of the audit log; a run's name in place of a command audits that run."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See `click.Group`."""
        return super().resolve_command(ctx, ["run", *args] if re.fullmatch(RUN, args[0]) else args)


audit = command_line(
    "The audit log: every event, chained line by line. With a run's name, an audit of that run's privacy."
)
app.add_typer(audit, name="audit", cls=AuditCommands)
app.add_typer(local, name="local", help="What make up does once the hub is running.", hidden=True)


@audit.command("run")
def audit_run(run: Annotated[str, typer.Argument(help="A run that is over.")], json_: AsJson = False) -> None:
    """Have the clinics attack a run's final model, and show what they can tell of who was trained on.

    Each clinic answers once, if its policy allows it. Waits for the result, or shows the one that there is. Exit code 1
    without a result.
    """
    path = f"/control/runs/{run}/audit"
    state = call("GET", path)
    if not (state["audit"] and state["audit"]["attacks"]):
        state = call("POST", path)
        while state["under_way"]:
            time.sleep(AUDIT_POLL_S)
            state = call("GET", path)
    if state["problem"] or not state["audit"]:
        typer.echo(state["problem"] or f"The audit of {run} was interrupted. Ask for it again.", err=True)
        raise typer.Exit(exits.NO)
    output(state["audit"], json_, audit_text)
    if not state["audit"]["attacks"]:
        raise typer.Exit(exits.NO)


@audit.command("head")
def audit_head() -> None:
    """Print the number of lines and the hash of the last one, to be kept elsewhere, for `audit verify --against`."""
    typer.echo(head_of(load_settings().state_dir))


@audit.command("verify")
def audit_verify(
    against: Annotated[
        typer.FileText | None, typer.Option(help="A file of heads that was kept elsewhere; - is standard input.")
    ] = None,
) -> None:
    """Check whether the audit log is intact; if it is broken, show every place (exit code 1)."""
    anchors = read_anchor(against.read(), against.name) if against else []
    intact, text = verify_log(load_settings().state_dir, anchors)
    typer.echo(text)
    if not intact:
        raise typer.Exit(exits.NO)


@audit.command("show")
def audit_show(
    event: Annotated[list[str] | None, typer.Option(help="Only events of this kind. Repeatable.")] = None,
    clinic: Annotated[str, typer.Option(help="Only events about this clinic.")] = "",
    run: Annotated[str, typer.Option(help="Only events about this run.")] = "",
    since: Annotated[str, typer.Option(help="Only from this day (2026-01-31) or time (2026-01-31T12:00) on.")] = "",
    last: Annotated[int, typer.Option(min=0, help="Only the newest events, this many. 0 = all.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """Print the audit log, oldest first."""
    selected = Filter(tuple(event or ()), clinic, run, since, last)
    for entry in select_events(load_settings().state_dir, selected):
        typer.echo(json.dumps(entry) if json_ else format_event(entry))


def main() -> None:
    """Entry point."""
    run_command(app)
