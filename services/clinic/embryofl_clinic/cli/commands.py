"""`embryofl-clinic`: the program that runs in a clinic. Commands import what is slow to load themselves, so that `--help`
is quick."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from embryofl import exits
from embryofl.command_line import command_line, run_command
from embryofl.errors import UserError
from embryofl.process import set_up_logging, stop_on_signals
from embryofl.troubles import explain_code
from embryofl_clinic.cli.data import check, import_folder
from embryofl_clinic.cli.models import export, score
from embryofl_clinic.cli.release import verify
from embryofl_clinic.cli.shared import DataOption, JsonOption, StateOption
from embryofl_clinic.settings import load_settings

app = command_line("The EmbryoFL trainer inside a clinic.")
_RUN = "A running trainer takes part now; otherwise start one: embryofl-clinic run"


@app.command()
def run(
    data: DataOption = None,
    state: StateOption = None,
    hub: Annotated[
        str | None, typer.Option(help="Addresses of the hub (host:port, comma-separated) to try first.")
    ] = None,
) -> None:
    """Take part in the hub's runs until stopped.

    A clinic that has not joined yet joins with the invite code in EMBRYOFL_INVITE_FILE or on standard input; without one it
    waits for `join`.
    """
    from embryofl_clinic.service import serve

    serve(load_settings(data_dir=data, state_dir=state, hubs=hub))


@app.command()
def join(data: DataOption = None, state: StateOption = None) -> None:
    """Ask for the invite code, check the data, show what will be sent of it, and join the hub.

    A running trainer then takes part. The code is pasted on standard input, or in EMBRYOFL_INVITE_FILE. A clinic that has
    joined only takes the hub's addresses and certificate authority from a reconnect invite.
    """
    from embryofl_clinic.joining.commands import apply_reconnect_invite
    from embryofl_clinic.joining.identity import ClinicIdentity
    from embryofl_clinic.joining.join import join_federation, read_invite

    settings = load_settings(data_dir=data, state_dir=state)
    identity = ClinicIdentity(settings.identity_dir)
    hub, invite = identity.membership, read_invite(settings, prompt=True)
    if hub is None:
        if invite is None:
            raise UserError(
                "J1",
                "There is no invite. Expected an invite code on standard input or in EMBRYOFL_INVITE_FILE. Ask the "
                "coordinator for one (`make invite CLINIC=NAME` prints it).",
            )
        set_up_logging()
        hub = join_federation(settings, identity, invite, stop_on_signals())
        typer.echo(f"Joined as {hub.name}, key {identity.fingerprint}. {_RUN}")
    elif invite is not None and not identity.has_used(invite.secret):  # the authority may have changed since
        typer.echo(apply_reconnect_invite(settings, invite))
    else:
        typer.echo(f"This clinic has already joined, as {hub.name}. {_RUN}")


@app.command()
def status(state: StateOption = None, json_: JsonOption = False) -> None:
    """Show this clinic's membership, policy and contact with its hub. Exit code 1 when it is not a member (any more)."""
    from embryofl_clinic.joining import commands

    info = commands.status(load_settings(state_dir=state))
    typer.echo(json.dumps(info, indent=1) if json_ else "\n".join(commands.status_lines(info)))
    if info["state"] not in ("enrolled", "suspended", "waiting"):
        raise typer.Exit(exits.NO)


@app.command()
def hub(
    addresses: Annotated[str, typer.Argument(help="The hub's present addresses: host:port, comma-separated.")],
    state: StateOption = None,
) -> None:
    """Move this clinic to another address of its hub, if the hub replies there. Key and membership stay."""
    from embryofl_clinic.joining.commands import change_address

    typer.echo(change_address(load_settings(state_dir=state), addresses))


@app.command()
def rotate_key(state: StateOption = None) -> None:
    """Replace this clinic's key; the old one stops working. A running trainer continues with the new key."""
    from embryofl_clinic.joining import commands

    typer.echo(commands.rotate_key(load_settings(state_dir=state)))


@app.command()
def peers(
    name: Annotated[str | None, typer.Argument(help="A clinic whose fingerprint you have compared.")] = None,
    fingerprint: Annotated[str | None, typer.Argument(help="The fingerprint that the clinic itself reads out.")] = None,
    forget: Annotated[bool, typer.Option("--forget", help="The clinic has left the federation.")] = False,
    state: StateOption = None,
) -> None:
    """List the keys of other clinics, or record that a fingerprint was compared.

    Updates are masked together with these clinics. Ask each by telephone for the fingerprint that `embryofl-clinic status`
    shows there.
    """
    from embryofl_clinic.masking.peers import Peers, describe_peers

    known = Peers(load_settings(state_dir=state).state_dir)
    if name is not None and forget:
        known.forget(name)
    elif name is not None:
        known.compare(name, fingerprint or typer.prompt(f"Fingerprint that {name} reads out"))
    typer.echo(describe_peers(known.read()))


@app.command()
def ledger(state: StateOption = None, json_: JsonOption = False) -> None:
    """List the final evaluations that this clinic has answered, and how many more it will answer."""
    from embryofl_clinic.policy.questions import Questions, describe_questions
    from embryofl_clinic.policy.rules import load_rules

    folder = load_settings(state_dir=state).state_dir
    asked, rules = Questions(folder).read(), load_rules(folder)
    if json_:
        typer.echo(json.dumps([question.model_dump(exclude={"told"}) for question in asked], indent=1))
    else:
        typer.echo(describe_questions(asked, rules.max_evaluations, rules.evaluation_days))


@app.command()
def privacy(
    accept: Annotated[
        bool, typer.Option("--accept", help="Go on with the ledger as it is now, after it was lost or moved.")
    ] = False,
    state: StateOption = None,
    json_: JsonOption = False,
) -> None:
    """Show what this clinic's patients have spent of their privacy in runs with dp_epsilon, and what its policy allows."""
    from embryofl_clinic.policy.rules import load_rules
    from embryofl_clinic.privacy.ledger import PrivacyLedger, describe_ledger

    folder = load_settings(state_dir=state).state_dir
    known = PrivacyLedger(folder)
    releases = known.accept() if accept else known.read()
    if json_:
        typer.echo(json.dumps([release.model_dump() for release in releases], indent=1))
    else:
        typer.echo(describe_ledger(releases, load_rules(folder).limits))


@app.command()
def leave(state: StateOption = None, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Leave the federation for good: this clinic's key never works again."""
    from embryofl_clinic.joining import commands

    if not yes and not typer.confirm("Leave the federation for good?"):
        raise typer.Exit(exits.NO)
    typer.echo(commands.leave(load_settings(state_dir=state)))


@app.command()
def explain(code: Annotated[str, typer.Argument(help="The code that an error ends with, such as J2.")]) -> None:
    """Show cause and remedy of an error."""
    Console().print(Markdown(explain_code(code), hyperlinks=False))


app.command()(check)
app.command("import")(import_folder)
app.command()(score)
app.command()(export)
app.command()(verify)


@app.command("app")
def app_(
    data: DataOption = None,
    state: StateOption = None,
    host: Annotated[
        str, typer.Option(help="Loopback; in a container 0.0.0.0, published on the machine's loopback.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free port.")] = 8088,
) -> None:
    """Serve the clinic app on this machine only: score a cohort, see what was sent, check the data folder."""
    from embryofl_clinic.app.serve import serve

    serve(load_settings(data_dir=data, state_dir=state), host, port)


def main() -> None:
    """Entry point."""
    run_command(app)
