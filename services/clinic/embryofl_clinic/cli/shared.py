"""What several commands share: options, a progress bar, and results written to a file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from embryofl.errors import UserError
from embryofl.files import write_atomic

DataOption = Annotated[Path | None, typer.Option("--data", help="Data folder (default: EMBRYOFL_DATA_DIR or /data).")]
StateOption = Annotated[
    Path | None, typer.Option("--state", help="State folder (default: EMBRYOFL_STATE_DIR or /state).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on standard error, one line for each step: call what is yielded with step, done and total."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def on_progress(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=total)
            bar.update(tasks[step], completed=done)

        yield on_progress


def check_outside(path: Path | None, folder: Path) -> None:
    """Raise `UserError` if a file to write would be inside the data folder."""
    if path is not None and path.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            "D6", f"The file {path} would be inside the data folder, which is only read. Name a path elsewhere."
        )


def write_result(path: Path, data: bytes | memoryview, mode: int = 0o600) -> None:
    """Write a file, by default one that only this user can read. Raises `UserError` when that fails."""
    try:
        write_atomic(path, data, mode)
    except OSError as exc:
        raise UserError("D6", f"The file {path} cannot be written ({exc.strerror}). Name another path.") from exc
