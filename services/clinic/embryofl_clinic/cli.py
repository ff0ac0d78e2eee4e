"""`embryofl-clinic`: what runs inside a clinic. Heavy imports happen inside the commands."""

import json
from pathlib import Path
from typing import Annotated

import typer

from embryofl.errors import run_command

app = typer.Typer(
    help="The EmbryoFL trainer inside a clinic.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False,
)  # fmt: skip

DataOption = Annotated[Path | None, typer.Option("--data", help="Data folder (default: EMBRYOFL_DATA_DIR or /data).")]


@app.command()
def run(
    data: DataOption = None,
    state: Annotated[Path | None, typer.Option(help="State folder (default: EMBRYOFL_STATE_DIR or /state).")] = None,
) -> None:
    """Join the hub (at first start, with EMBRYOFL_INVITE) and take part in its runs until told to stop."""
    from embryofl_clinic.service import serve
    from embryofl_clinic.settings import load_settings

    serve(load_settings(data_dir=data, state_dir=state))


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="The data folder to look at; it is only read.")],
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Report on a data folder. Exit code 1 when it cannot be trained on, 2 when it cannot be read at all."""
    from rich.console import Console

    from embryofl_clinic.check import inspect_folder, print_report

    report = inspect_folder(folder)
    if json_:
        typer.echo(json.dumps(report.to_dict(), indent=1))
    else:
        print_report(report, Console())
    raise typer.Exit(report.exit_code)


def main() -> None:
    """Entry point."""
    run_command(app)
