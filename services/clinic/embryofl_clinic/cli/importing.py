"""`embryofl-clinic import`: its options as typed, and a progress bar."""

from collections.abc import Sequence
from pathlib import Path

import typer

from embryofl.errors import UserError
from embryofl_clinic.cli.check import progress_bar
from embryofl_data.importers import Options, import_source
from embryofl_data.reading.layouts import LABELS

Typed = tuple[Sequence[str], Sequence[str], Path | None, str, str, str, str]
"""As typed: --map, --label, --table, --phases, --pick, --before, --planes."""


def run_import(source: Path, folder: Path, layout: str, rule: str, typed: Typed, dry_run: bool) -> None:
    """Import, reporting on standard output.

    Raises
    ------
    UserError
        When an option cannot be read, or something has to be decided or corrected first.
    """
    maps, labels, table, phases, pick, before, planes = typed
    columns = dict(_pair(text, "--map", "NAME=COLUMN") for text in maps)
    options = Options(table, columns, _labels(labels), _listed(phases), pick, before, _listed(planes))
    with progress_bar() as bar:

        def on_progress(done: int, total: int) -> None:
            bar("importing", done, total)

        import_source(source, folder, layout, rule, options, dry_run, typer.echo, on_progress)


def _labels(texts: Sequence[str]) -> dict[str, int | None]:
    labels = {}
    for text in texts:
        written, label = _pair(text, "--label", "TEXT=1, TEXT=0 or TEXT=")
        if label not in LABELS:
            raise UserError(f"--label {text} was given. Expected TEXT=1, TEXT=0 or TEXT= (unlabelled).")
        labels[written] = LABELS[label]
    return labels


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = text.rpartition("=")
    if not equals or not name:
        raise UserError(f"{option} {text} was given. Expected {option} {form}.")
    return name.strip(), value.strip()


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
