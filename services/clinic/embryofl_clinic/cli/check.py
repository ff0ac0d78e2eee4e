"""`embryofl-clinic check`: make the data report and show it."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from embryofl.errors import UserError
from embryofl.files import write_atomic
from embryofl_clinic.joining.others import load_others
from embryofl_clinic.settings import load_settings
from embryofl_data.report.measurements import Progress as OnProgress
from embryofl_data.report.page import page
from embryofl_data.report.run import check_folder
from embryofl_data.report.terminal import print_report
from embryofl_data.report.thumbnails import Thumbnails


def run_check(folder: Path, as_json: bool, html: Path | None, cache: Path | None) -> int:
    """Check a folder, show the report, and return the exit code.

    Raises
    ------
    UserError
        When the page or the cache cannot be written.
    """
    if html is not None and html.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"The page {html} would be inside the data folder, which is only read. Name a path elsewhere.")
    settings = load_settings()
    if cache is None and settings.state_dir.is_dir() and os.access(settings.state_dir, os.W_OK):
        cache = settings.cache_dir
    with progress_bar() as on_progress:
        report = check_folder(folder, cache, progress=on_progress, others=load_others(settings.state_dir))
    if html is not None:
        try:
            write_atomic(html, page(report, Thumbnails(folder.resolve())).encode("utf-8", "replace"), 0o600)
        except OSError as error:
            raise UserError(f"The page {html} cannot be written ({error.strerror}). Name another path.") from error
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=1))
    else:
        print_report(report, Console())
        if html is not None:
            typer.echo(f"Report with images: {html}")
    return report.exit_code


@contextmanager
def progress_bar() -> Iterator[OnProgress]:
    """A progress bar on standard error, one line for each step."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def on_progress(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=total)
            bar.update(tasks[step], completed=done)

        yield on_progress
