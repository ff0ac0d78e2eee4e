"""`embryofl-clinic`: what runs inside a clinic. Heavy imports happen inside the commands."""

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
    html: Annotated[Path | None, typer.Option(help="Also write a page with pictures, for the clinic alone.")] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder for what was measured, so that a second look only opens what changed "
                     "(default: the state folder's cache, where there is one)."),
    ] = None,
) -> None:  # fmt: skip
    """Report on a data folder. Exit code 1 when a finding says stop or it cannot be trained on, 2 on other errors."""
    from embryofl_clinic.check import run_check

    raise typer.Exit(run_check(folder, json_, html, cache))


def main() -> None:
    """Entry point."""
    run_command(app)
