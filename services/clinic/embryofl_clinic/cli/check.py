"""`embryofl-clinic check`: make the report and show it."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from embryofl.errors import UserError
from embryofl.files import write_atomic
from embryofl_clinic.joining.others import OthersStatistics
from embryofl_clinic.settings import load_settings
from embryofl_data.report import check_folder
from embryofl_data.report.measurements import Progress as Told
from embryofl_data.report.terminal import print_report


def run_check(folder: Path, as_json: bool, html: Path | None, cache: Path | None) -> int:
    """Check a folder, show the report, and return the exit code.

    Raises
    ------
    UserError
        When the page or the cache cannot be written.
    """
    if html is not None and html.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"The page {html} would lie in the data folder, which is only read. Name a place elsewhere.")
    others = OthersStatistics(load_settings().state_dir).others
    with progress_bar() as told:
        report = check_folder(folder, cache or _usual_cache(), progress=told, others=others)
    if html is not None:
        from embryofl_data.report.page import page
        from embryofl_data.report.thumbnails import Thumbnails

        try:
            write_atomic(html, page(report, Thumbnails(folder.resolve())).encode("utf-8", "replace"), 0o600)
        except OSError as error:
            raise UserError(f"The page {html} cannot be written ({error.strerror}). Name another place.") from error
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=1))
    else:
        print_report(report, Console())
        if html is not None:
            typer.echo(f"With pictures: {html}")
    return report.exit_code


def _usual_cache() -> Path | None:
    """The clinic's own cache folder, where there is a state folder that can be written."""
    settings = load_settings()
    there = settings.state_dir.is_dir() and os.access(settings.state_dir, os.W_OK)
    return settings.cache_dir if there else None


@contextmanager
def progress_bar() -> Iterator[Told]:
    """A progress bar on standard error, one line for each thing that is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks = {}

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        yield told
