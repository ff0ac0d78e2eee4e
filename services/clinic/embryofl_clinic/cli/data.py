"""`embryofl-clinic check` and `import`: a data folder, and how to make one."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from embryofl.errors import UserError
from embryofl_clinic.cli.shared import JsonOption, check_outside, progress_bar, write_result
from embryofl_clinic.settings import load_settings


def check(
    folder: Annotated[Path, typer.Argument(help="The data folder to check; it is only read.")],
    json_: JsonOption = False,
    html: Annotated[Path | None, typer.Option(help="Also write a page with images, for the clinic alone.")] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder for measurements, so that a second check only opens changed files "
            "(default: the state folder's cache, if there is one)."
        ),
    ] = None,
) -> None:
    """Report on a data folder. Exit code 1 when a finding says stop or it cannot be trained on, 2 on other errors."""
    from embryofl_clinic.joining.others import load_others
    from embryofl_data.report.page import page
    from embryofl_data.report.run import check_folder
    from embryofl_data.report.terminal import print_report

    check_outside(html, folder)
    settings = load_settings()
    if cache is None and settings.state_dir.is_dir() and os.access(settings.state_dir, os.W_OK):
        cache = settings.cache_dir
    with progress_bar() as on_progress:
        report = check_folder(folder, cache, progress=on_progress, others=load_others(settings.state_dir))
    if html is not None:
        write_result(html, page(report).encode("utf-8", "replace"))
    if json_:
        typer.echo(json.dumps(report.to_dict(), indent=1))
    else:
        print_report(report, Console())
        if html is not None:
            typer.echo(f"Report with images: {html}")
    raise typer.Exit(report.exit_code)


def import_folder(
    source: Annotated[Path, typer.Argument(help="Folder or zip archive as published or exported; only read.")],
    folder: Annotated[Path, typer.Argument(help="New or empty folder for images/, labels.csv and import.json.")],
    layout: Annotated[str, typer.Option(help="Name of the layout (default: the one that is recognised).")] = "",
    rule: Annotated[str, typer.Option(help="Name of the rule that makes labels, such as gardner-3bb.")] = "",
    map_: Annotated[list[str], typer.Option("--map", help="Layout table: NAME=COLUMN, such as image=Filename.")] = [],  # noqa: B006
    label: Annotated[list[str], typer.Option(help="Layout table: TEXT=1, TEXT=0 or TEXT= (unlabelled).")] = [],  # noqa: B006
    table: Annotated[Path | None, typer.Option(help="A table next to the source, if the layout takes one.")] = None,
    phases: Annotated[str, typer.Option(help="Time-lapse: phases to take, such as tB,tEB.")] = "",
    pick: Annotated[str, typer.Option(help="Time-lapse: last, first, middle or all frames of an embryo.")] = "last",
    before: Annotated[str, typer.Option(help="Time-lapse: only frames before this phase, or hours such as 110h.")] = "",
    planes: Annotated[str, typer.Option(help="Time-lapse: focal planes to take, such as -15,0,15.")] = "0",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, write nothing.")] = False,
) -> None:
    """Convert a data set in another layout to the data contract. The rule that gives labels is printed before its use."""
    from embryofl_data.importers.plan import Options
    from embryofl_data.importers.run import import_source
    from embryofl_data.reading.layouts import LABELS

    columns = dict(_pair(text, "--map", "NAME=COLUMN") for text in map_)
    labels = {}
    for text in label:
        written, value = _pair(text, "--label", "TEXT=1, TEXT=0 or TEXT=")
        if value not in LABELS:
            raise UserError("S7", f"--label {text} was given. Expected TEXT=1, TEXT=0 or TEXT= (unlabelled).")
        labels[written] = LABELS[value]
    options = Options(table, columns, labels, _list(phases), pick, before, _list(planes))
    with progress_bar() as on_progress:
        import_source(source, folder, layout, rule, options, dry_run, typer.echo, partial(on_progress, "importing"))


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = text.rpartition("=")
    if not equals or not name:
        raise UserError("S7", f"{option} {text} was given. Expected {option} {form}.")
    return name.strip(), value.strip()


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
