"""`embryofl-clinic score`: score a folder, and print or write the result."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import typer
from rich.console import Console

from embryofl.errors import UserError
from embryofl.files import write_atomic
from embryofl_clinic.cli.check import progress_bar
from embryofl_clinic.scoring import output
from embryofl_clinic.scoring.folder import read_images
from embryofl_clinic.scoring.model_store import ModelStore, StoredModel, read_model
from embryofl_clinic.scoring.network import load_networks
from embryofl_clinic.scoring.score import score_folder
from embryofl_clinic.settings import load_settings
from embryofl_clinic.texts import texts
from embryofl_clinic.workload.embryo import pick_device


def chosen_models(state: Path | None, runs: Sequence[str], files: Sequence[Path]) -> list[StoredModel]:
    """The named models, each once; by default that of the newest finished run. Raises `UserError`."""
    if runs and files:
        raise UserError("Found both --run and --model. Expected one of them.")
    if files:
        return [read_model(path / "model.safetensors" if path.is_dir() else path) for path in files]
    store = ModelStore(load_settings(state_dir=state).state_dir)
    return [store.get(run) for run in dict.fromkeys(runs)] or [store.get()]


def run_score(
    folder: Path, state: Path | None, runs: Sequence[str], files: Sequence[Path], form: str, out: Path | None
) -> None:
    """Score a folder and show or write the result. Raises `UserError`."""
    forms = {"table": None, "csv": output.as_csv, "json": output.as_json}
    if form not in forms:
        raise UserError(f"Found --format {form!r}. Expected table, csv or json.")
    if out is not None and out.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"The file {out} would be inside the data folder, which is only read. Name a path elsewhere.")
    models = chosen_models(state, runs, files)
    images, problems = read_images(folder)
    networks = load_networks(models, pick_device(load_settings(state_dir=state).device))
    notes = [f"{p.file}: {p.detail}" for p in problems if p.leaves_out]
    with progress_bar() as bar:
        scores = score_folder(folder.resolve(), images, networks, notes, partial(bar, "scoring images"))
    write = forms[form]
    if out is not None:
        text = (write or output.as_csv)(scores)
        try:
            write_atomic(out, text.encode("utf-8", "replace"), 0o600)
        except OSError as error:
            raise UserError(f"The file {out} cannot be written ({error.strerror}). Name another path.") from error
        typer.echo(f"{len(scores.embryos)} embryos scored: {out}. {texts.research_short}")
    elif write is None:
        output.print_scores(scores, Console())
    else:
        typer.echo(write(scores), nl=False)
        if form == "csv":
            typer.echo(texts.research_short, err=True)
