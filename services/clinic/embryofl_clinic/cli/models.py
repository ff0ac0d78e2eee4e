"""`embryofl-clinic score` and `export`: what a clinic does with the model of a finished run."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from embryofl.errors import UserError
from embryofl_clinic.cli.shared import StateOption, check_outside, progress_bar, write_result
from embryofl_clinic.settings import load_settings
from embryofl_clinic.texts import texts

RUN_HELP = "A finished run, such as run-0001 (default: the newest)."
MODEL_HELP = "A model.safetensors with its model.json next to it, or their folder."


def score(
    folder: Annotated[Path, typer.Argument(help="Images to score, labelled or not; the folder is only read.")],
    state: StateOption = None,
    run: Annotated[list[str], typer.Option(help=f"{RUN_HELP} Repeatable.")] = [],  # noqa: B006
    model: Annotated[list[Path], typer.Option(help=f"{MODEL_HELP} Repeatable.")] = [],  # noqa: B006
    form: Annotated[
        Literal["table", "csv", "json"], typer.Option("--format", help="How to print the scores.")
    ] = "table",
    out: Annotated[Path | None, typer.Option(help="Write to this file (csv, or json with --format).")] = None,
) -> None:
    """Score embryos with the model of a finished run: one row per embryo, ranked within its cohort. Research use only.

    The cohort is the patient of labels.csv, else the sub-folder. With several --run or --model (seeds) the score is that of
    the mean logit, and low and high are their range.
    """
    from embryofl_clinic.scoring import output
    from embryofl_clinic.scoring.folder import read_images
    from embryofl_clinic.scoring.model_store import chosen_models
    from embryofl_clinic.scoring.network import load_networks
    from embryofl_clinic.scoring.score import score_folder
    from embryofl_clinic.workload.embryo import pick_device

    check_outside(out, folder)
    settings = load_settings(state_dir=state)
    models = chosen_models(settings.state_dir, run, model)
    images, problems = read_images(folder)
    networks = load_networks(models, pick_device(settings.device))
    notes = [f"{p.file}: {p.detail}" for p in problems if p.leaves_out]
    with progress_bar() as bar:
        scores = score_folder(folder.resolve(), images, networks, notes, partial(bar, "scoring images"))
    write = output.as_json if form == "json" else output.as_csv
    if out is not None:
        write_result(out, write(scores).encode("utf-8", "replace"))
        typer.echo(f"{len(scores.embryos)} embryos scored: {out}. {texts.research_short}")
    elif form == "table":
        output.print_scores(scores, Console())
    else:
        typer.echo(write(scores), nl=False)
        if form == "csv":
            typer.echo(texts.research_short, err=True)


def export(
    onnx: Annotated[Path | None, typer.Option(help="Write ONNX here, checked against PyTorch.")] = None,
    safetensors: Annotated[Path | None, typer.Option(help="Write the weights here.")] = None,
    state: StateOption = None,
    run: Annotated[str, typer.Option(help=RUN_HELP)] = "",
    model: Annotated[Path | None, typer.Option(help=MODEL_HELP)] = None,
) -> None:
    """Write the model of a finished run for other programs. Research use only."""
    from embryofl_clinic.scoring.export import export_onnx
    from embryofl_clinic.scoring.model_store import chosen_models

    if onnx is None and safetensors is None:
        raise UserError("S7", "Nothing to write. Expected --onnx FILE, --safetensors FILE, or both.")
    (stored,) = chosen_models(load_settings(state_dir=state).state_dir, [run] if run else [], [model] if model else [])
    card = stored.card
    if safetensors is not None:
        write_result(safetensors, stored.packed().data, 0o644)
        typer.echo(f"{safetensors}: {card.settings.model} of {card.run}, SHA-256 {card.sha256}")
    if onnx is not None:
        data, difference = export_onnx(stored)
        write_result(onnx, data, 0o644)
        typer.echo(
            f"{onnx}: {card.settings.model} of {card.run}; images of {card.settings.image_size} pixels, float32 in [0, 1], "
            f"(n, 3, s, s); largest difference of a logit {difference:.1e}"
        )
    typer.echo(texts.research_short)
