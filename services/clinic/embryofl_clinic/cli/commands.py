"""`embryofl-clinic`: what runs inside a clinic. Heavy imports happen inside the commands."""

from pathlib import Path
from typing import Annotated

import typer

from embryofl.errors import run_command

app = typer.Typer(
    help="The EmbryoFL trainer inside a clinic.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DataOption = Annotated[Path | None, typer.Option("--data", help="Data folder (default: EMBRYOFL_DATA_DIR or /data).")]


StateOption = Annotated[
    Path | None, typer.Option("--state", help="State folder (default: EMBRYOFL_STATE_DIR or /state).")
]


@app.command()
def run(
    data: DataOption = None,
    state: StateOption = None,
    hub: Annotated[
        str | None, typer.Option(help="Addresses of the hub (host:port, comma-separated) to try first.")
    ] = None,
) -> None:
    """Join the hub (at first start, with EMBRYOFL_INVITE) and take part in its runs until told to stop."""
    from embryofl_clinic.service import serve
    from embryofl_clinic.settings import load_settings

    serve(load_settings(data_dir=data, state_dir=state, hubs=hub))


@app.command()
def join(data: DataOption = None, state: StateOption = None) -> None:
    """Check the data, show what will be sent of it, and join the hub of EMBRYOFL_INVITE (or EMBRYOFL_INVITE_FILE).

    A clinic that has joined takes only the hub's addresses and certificate authority from a reconnect invite.
    """
    from embryofl_clinic.joining.commands import apply_reconnect_invite
    from embryofl_clinic.joining.identity import ClinicIdentity
    from embryofl_clinic.joining.join import join_federation, reconnect_invite
    from embryofl_clinic.process import setup_logging_and_signals
    from embryofl_clinic.settings import load_settings

    settings = load_settings(data_dir=data, state_dir=state)
    identity = ClinicIdentity(settings.identity_dir)
    known = identity.membership
    if known is not None and (invite := reconnect_invite(settings, identity)):
        typer.echo(apply_reconnect_invite(settings, invite))
        return
    if known is not None:
        typer.echo(f"This clinic has already joined, as {known.name}. Take part with: embryofl-clinic run")
        return
    membership = join_federation(settings, identity, setup_logging_and_signals())
    typer.echo(f"Joined as {membership.name}, key {identity.fingerprint}. Take part with: embryofl-clinic run")


@app.command()
def status(
    state: StateOption = None, json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Show this clinic's membership, policy and contact with its hub. Exit code 1 when it is not a member (any more)."""
    import json

    from embryofl_clinic.joining.commands import status as ask
    from embryofl_clinic.joining.commands import status_lines
    from embryofl_clinic.settings import load_settings

    info = ask(load_settings(state_dir=state))
    typer.echo(json.dumps(info, indent=1) if json_ else "\n".join(status_lines(info)))
    if info["state"] not in ("enrolled", "suspended", "waiting"):
        raise typer.Exit(1)


@app.command()
def hub(
    addresses: Annotated[str, typer.Argument(help="Where the hub is now: host:port, comma-separated.")],
    state: StateOption = None,
) -> None:
    """Move this clinic to another address of its hub, if the hub replies there. Key and membership stay."""
    from embryofl_clinic.joining.commands import change_address
    from embryofl_clinic.settings import load_settings

    typer.echo(change_address(load_settings(state_dir=state), addresses))


@app.command("rotate-key")
def rotate_key(state: StateOption = None) -> None:
    """Replace this clinic's key; the old one stops working. A running trainer continues with the new key."""
    from embryofl_clinic.joining.commands import rotate_key as change
    from embryofl_clinic.settings import load_settings

    typer.echo(change(load_settings(state_dir=state)))


@app.command()
def leave(state: StateOption = None, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Leave the federation for good: this clinic's key never works again."""
    from embryofl_clinic.joining.commands import leave as end_membership
    from embryofl_clinic.settings import load_settings

    if not yes and not typer.confirm("Leave the federation for good?"):
        raise typer.Exit(1)
    typer.echo(end_membership(load_settings(state_dir=state)))


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="The data folder to look at; it is only read.")],
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Also write a page with pictures, for the clinic alone.")] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder for what was measured, so that a second look only opens what changed "
            "(default: the state folder's cache, where there is one)."
        ),
    ] = None,
) -> None:
    """Report on a data folder. Exit code 1 when a finding says stop or it cannot be trained on, 2 on other errors."""
    from embryofl_clinic.cli.check import run_check

    raise typer.Exit(run_check(folder, json_, html, cache))


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="Folder or zip archive as it was published or exported; only read.")],
    folder: Annotated[Path, typer.Argument(help="New or empty folder that takes images/, labels.csv and import.json.")],
    layout: Annotated[str, typer.Option(help="Name of the layout (default: the one that is recognised).")] = "",
    rule: Annotated[str, typer.Option(help="Name of the rule that makes labels, such as gardner-3bb.")] = "",
    map_: Annotated[list[str], typer.Option("--map", help="Layout table: NAME=COLUMN, such as image=Filename.")] = [],  # noqa: B006
    label: Annotated[list[str], typer.Option(help="Layout table: TEXT=1, TEXT=0 or TEXT= (unlabelled).")] = [],  # noqa: B006
    table: Annotated[Path | None, typer.Option(help="A table beside the source, where the layout takes one.")] = None,
    phases: Annotated[str, typer.Option(help="Time-lapse: phases to take, such as tB,tEB.")] = "",
    pick: Annotated[str, typer.Option(help="Time-lapse: last, first, middle or all frames of an embryo.")] = "last",
    before: Annotated[str, typer.Option(help="Time-lapse: only frames before this phase, or hours such as 110h.")] = "",
    planes: Annotated[str, typer.Option(help="Time-lapse: focal planes to take, such as -15,0,15.")] = "0",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, write nothing.")] = False,
) -> None:
    """Take a data set in another layout into the data contract. The rule that gives labels is printed before its use."""
    from embryofl_clinic.cli.importing import run_import

    run_import(source, folder, layout, rule, (map_, label, table, phases, pick, before, planes), dry_run)


RUN_WORDS = "A finished run, such as run-0001 (default: the newest)."
RunOption = Annotated[str, typer.Option("--run", help=RUN_WORDS)]
RunsOption = Annotated[list[str], typer.Option("--run", help=f"{RUN_WORDS} Repeatable.")]
ModelOption = Annotated[
    list[Path], typer.Option("--model", help="A model.safetensors with its model.json beside it, or their folder.")
]


@app.command()
def score(
    folder: Annotated[Path, typer.Argument(help="Images to score, labelled or not; the folder is only read.")],
    state: StateOption = None,
    run: RunsOption = [],  # noqa: B006
    model: ModelOption = [],  # noqa: B006
    form: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
    out: Annotated[Path | None, typer.Option("--out", help="Write to this file (csv, or json with --format).")] = None,
) -> None:
    """Score embryos with the model of a finished run: a row an embryo, ranked within its cohort. Research use only.

    The cohort is the patient of labels.csv, else the sub-folder. With several --run or --model (seeds) the score is that of
    the mean logit, and low and high are their range.
    """
    from embryofl_clinic.cli.scoring import run_score

    run_score(folder, state, run, model, form, out)


@app.command()
def export(
    onnx: Annotated[Path | None, typer.Option("--onnx", help="Write ONNX here, checked against PyTorch.")] = None,
    safetensors: Annotated[Path | None, typer.Option("--safetensors", help="Write the weights here.")] = None,
    state: StateOption = None,
    run: RunOption = "",
    model: Annotated[Path | None, typer.Option("--model", help="A model.safetensors with its model.json.")] = None,
) -> None:
    """Write the model of a finished run for other programs. Research use only."""
    from embryofl_clinic.cli.scoring import chosen_models
    from embryofl_clinic.scoring.export import run_export

    (finished,) = chosen_models(state, [run] if run else [], [model] if model else [])
    typer.echo("\n".join(run_export(finished, onnx, safetensors)))


@app.command("app")
def app_(
    data: DataOption = None,
    state: StateOption = None,
    host: Annotated[
        str, typer.Option(help="Loopback; in a container 0.0.0.0, published on the host's loopback.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8088,
) -> None:
    """Serve this clinic's own page on this machine alone: score a cohort, what was sent, data report."""
    from embryofl_clinic.app.serve import serve
    from embryofl_clinic.settings import load_settings

    serve(load_settings(data_dir=data, state_dir=state), host, port)


def main() -> None:
    """Entry point."""
    run_command(app)
