"""Command line of the job `embryofl-datagen`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from embryofl.command_line import command_line, run_command

app = command_line("Synthetic IVF clinics with a known best possible score, and real images divided over clinics.")


@app.command()
def generate(
    out: Annotated[Path, typer.Argument(help="Folder for clinic-1, clinic-2, ...; created when missing.")],
    clinics: Annotated[int, typer.Option(help="Number of clinics.")] = 3,
    images: Annotated[int, typer.Option(help="Images of each clinic.")] = 600,
    size: Annotated[int, typer.Option(help="Side of the images in pixels.")] = 256,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    best_auc: Annotated[float, typer.Option(help="Best AUROC that any model can expect to reach.")] = 0.90,
    only: Annotated[
        int | None, typer.Option(help="Write this clinic alone, straight into OUT, with the bytes it always has.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one per core by default.")] = None,
) -> None:
    """Draw synthetic clinics: images, labels.csv and datagen.json, with the best possible AUROC."""
    from embryofl_data.progress import ProgressPrinter

    from .job import generate as run
    from .plan import Settings

    run(out, clinics, Settings(images, size, seed, best_auc), only, ProgressPrinter(), workers)


@app.command()
def divide(
    source: Annotated[Path, typer.Argument(help="Folder with images and their labels, in any known layout.")],
    out: Annotated[Path, typer.Argument(help="Folder for clinic-1, clinic-2, ...; created when missing.")],
    clinics: Annotated[int, typer.Option(help="Number of clinics.")] = 3,
    seed: Annotated[int, typer.Option(help="The same seed gives the same division.")] = 0,
    only: Annotated[int | None, typer.Option(help="Write this clinic alone, straight into OUT.")] = None,
) -> None:
    """Divide one folder of real images over clinics, patient by patient."""
    from embryofl_data.dividing import divide_folder
    from embryofl_data.progress import ProgressPrinter

    divide_folder(source, out, clinics, seed, only, ProgressPrinter().line)


@app.command()
def fill(
    out: Annotated[Path, typer.Argument(help="Folder with the folders clinic-1, clinic-2, ...")],
    clinics: Annotated[int, typer.Option(help="Number of clinics.")] = 3,
    images: Annotated[int, typer.Option(help="Synthetic images of each clinic.")] = 250,
    source: Annotated[Path | None, typer.Option(help="Real images; by default the clinics are synthetic.")] = None,
) -> None:
    """Generate or divide the images of the clinics that have none; complete ones stay as they are (for make up)."""
    from embryofl_data.dividing import SEAL

    from .job import SUMMARY

    for number in range(1, clinics + 1):
        folder = out / f"clinic-{number}"
        if (folder / (SEAL if source else SUMMARY)).exists():
            continue
        if source:
            divide(source, folder, clinics, only=number)
        else:
            generate(folder, clinics, images, only=number)


@app.command()
def compose_file(
    source: Annotated[Path | None, typer.Option(help="Real images; by default the clinics are synthetic.")] = None,
    asked: Annotated[int | None, typer.Option(help="The number of clinics that was asked for.")] = None,
    have: Annotated[str, typer.Option(help="Clinics that this machine already has, separated by commas.")] = "",
    gpu: Annotated[bool, typer.Option("--gpu", help="They train on an NVIDIA GPU.")] = False,
) -> None:
    """Decide how many clinics this machine has, and print their Compose file (for make up)."""
    from embryofl_data.dividing import count_clinics

    from .local import clinics_file

    existing = max((int(name.removeprefix("clinic-")) for name in have.split(",") if name), default=0)
    count, kind = count_clinics(source, asked, existing, lambda text: typer.echo(f"    {text}", err=True))
    typer.echo(clinics_file(count, kind, gpu), nl=False)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="hungvuong, kromp, gomez, stork, saeedi, or drive:FILE_ID.")],
    out: Annotated[Path, typer.Argument(help="Folder for the files, also for those downloaded by hand.")],
    also: Annotated[
        list[str], typer.Option(help="A further file of the record, such as embryo_dataset_F15.tar.gz.")
    ] = [],  # noqa: B006
    accept_terms: Annotated[bool, typer.Option("--accept-terms", help="Accept the terms without being asked.")] = False,
) -> None:
    """Fetch a public data set from where it is published, after showing its terms. Continues an interrupted download."""
    from embryofl_data.fetching.run import fetch as run
    from embryofl_data.progress import ProgressPrinter

    run(name, out, lambda text: accept_terms or _confirmed(text), ProgressPrinter(), also)


def _confirmed(text: str) -> bool:
    return sys.stdin.isatty() and typer.confirm(text, err=True)


def main() -> None:
    """Entry point."""
    run_command(app)
