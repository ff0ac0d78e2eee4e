"""The first report on a data folder: what it holds, what is left out and why, and whether it can train.

The report names files and may name patients: it is for the clinic's own terminal. What may leave the clinic is made by
`data_summary` alone.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from embryofl.data.cache import open_cache
from embryofl.data.contract import PROBLEM_KINDS, DataFolder, EmbryoImage, Problem
from embryofl.data.dataset import split_to_train
from embryofl.data.layouts import read_folder
from embryofl.data.scan import FileInfo, scan_files
from embryofl.data.split import SIDES
from embryofl.errors import DataError
from embryofl.metrics import SMALLEST_COUNT

NAMES_SHOWN = 5
SIZE_STEPS = (128, 256, 512, 1024)
SCAN_SIZE = 64

Progress = Callable[[int, int], None]
Counts = dict[str, int]


@dataclass(frozen=True)
class ProblemCount:
    """Problems of one kind; `files` are the first few, with what was found."""

    kind: str
    meaning: str
    leaves_out: bool
    count: int
    files: list[str]


@dataclass(frozen=True)
class Duplicates:
    """Files of the same content (SHA-256).

    Attributes
    ----------
    contents, files : int
        Contents that occur more than once, and files that hold them.
    opposite_labels, across_patients : int
        Contents among them with both labels, and with files of more than one patient (else embryo). Files of which
        neither patient nor embryo is known do not count as another patient.
    examples : list of str
        The first few, as `a.png = b.png`.
    """

    contents: int = 0
    files: int = 0
    opposite_labels: int = 0
    across_patients: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FolderReport:
    """What a data folder holds. Counts are of images that can be used, unless said otherwise.

    Attributes
    ----------
    root, layout : str
        The folder, and the layout it was read in ("" where it could not be read).
    counts : dict
        Day (or `unknown`) to label (`1`, `0`, `unlabelled`) to images.
    patients, embryos, lone_images : int
        Patients; embryos of no known patient; images of which neither is known. Each is one unit of the split.
    cohorts : dict
        Number of images of a unit to units.
    sizes, modes : dict
        `width x height` and stored pixel format to images.
    problems : list of ProblemCount
        By kind, those that leave images out first.
    duplicates : Duplicates
        Exact duplicates.
    split : dict
        Side to day to label to images; empty where it cannot train.
    reason : str
        Why it cannot train, "" where it can.
    """

    root: str
    layout: str = ""
    counts: dict[str, Counts] = field(default_factory=dict)
    patients: int = 0
    embryos: int = 0
    lone_images: int = 0
    cohorts: dict[int, int] = field(default_factory=dict)
    sizes: Counts = field(default_factory=dict)
    modes: Counts = field(default_factory=dict)
    problems: list[ProblemCount] = field(default_factory=list)
    duplicates: Duplicates = field(default_factory=Duplicates)
    split: dict[str, dict[str, Counts]] = field(default_factory=dict)
    reason: str = ""

    @property
    def can_train(self) -> bool:
        """Whether a clinic with this folder can train."""
        return not self.reason

    @property
    def exit_code(self) -> int:
        """0 when it can train, else 1."""
        return 0 if self.can_train else 1

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON. Names files: not for sending."""
        return {**asdict(self), "can_train": self.can_train}


def inspect_folder(
    root: Path,
    cache_dir: Path | None = None,
    split_seed: int = 0,
    image_size: int = 128,
    progress: Progress | None = None,
) -> FolderReport:
    """Read a folder, decode every image once, and split it as training would.

    Parameters
    ----------
    root : Path
        The data folder, only read.
    cache_dir : Path, optional
        Decoded images are kept there for training with `image_size`; without it nothing is written.
    split_seed : int (default: 0)
        Seed of the split that is shown.
    image_size : int (default: 128)
        Side of the images that are kept in `cache_dir`, in pixels.
    progress : callable, optional
        Called with (done, total) files.

    Returns
    -------
    FolderReport
        Also for a folder that cannot be read at all: `reason` says why.

    Raises
    ------
    UserError
        When `cache_dir` cannot be written.
    """
    try:
        folder = read_folder(root)
    except DataError as error:
        return FolderReport(str(root), reason=str(error))
    infos = _decode_all(folder, cache_dir, image_size, progress)
    usable = tuple(image for image in folder.images if infos[image.file].usable)
    problems = [*folder.problems, *(problem for info in infos.values() if (problem := info.problem))]
    folder = replace(folder, images=usable, problems=tuple(problems))
    used = [infos[image.file] for image in usable]
    report = FolderReport(
        root=str(root),
        layout=folder.layout,
        counts=_by_day(usable),
        patients=len({image.patient for image in usable if image.patient}),
        embryos=len({image.embryo for image in usable if image.embryo and not image.patient}),
        lone_images=sum(1 for image in usable if not image.patient and not image.embryo),
        cohorts=dict(sorted(Counter(Counter(image.group for image in usable).values()).items())),
        sizes=dict(Counter(f"{info.width}x{info.height}" for info in used).most_common()),
        modes=dict(Counter(info.mode for info in used).most_common()),
        problems=_by_kind(problems),
        duplicates=_duplicates(usable, used),
    )
    try:
        sides = split_to_train(folder, [info.sha256 for info in used], split_seed)
    except DataError as error:
        return replace(report, reason=str(error))
    return replace(report, split={side: _by_day([usable[index] for index in sides[side]]) for side in SIDES})


def _decode_all(
    folder: DataFolder, cache_dir: Path | None, image_size: int, progress: Progress | None
) -> dict[str, FileInfo]:
    files = [image.file for image in folder.images]
    if cache_dir is not None:
        return open_cache(folder.root, files, cache_dir, image_size, progress).infos
    infos: dict[str, FileInfo] = {}
    for scanned in scan_files(folder.root, files, SCAN_SIZE):
        infos[scanned.info.file] = scanned.info
        if progress:
            progress(len(infos), len(files))
    return infos


def _by_day(images: Iterable[EmbryoImage]) -> dict[str, Counts]:
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for image in images:
        label = "unlabelled" if image.label is None else str(image.label)
        counts[99 if image.day is None else image.day][label] += 1
    return {
        "unknown" if day == 99 else str(day): {label: found[label] for label in ("1", "0", "unlabelled")}
        for day, found in sorted(counts.items())
    }


def _by_kind(problems: Sequence[Problem]) -> list[ProblemCount]:
    kinds: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        kinds[problem.kind].append(problem)
    ordered = sorted(kinds.items(), key=lambda item: (not item[1][0].leaves_out, -len(item[1]), item[0]))
    return [
        ProblemCount(
            kind,
            PROBLEM_KINDS[kind],
            found[0].leaves_out,
            len(found),
            [f"{problem.file} ({problem.detail})" for problem in found[:NAMES_SHOWN]],
        )
        for kind, found in ordered
    ]


def _duplicates(images: Sequence[EmbryoImage], infos: Sequence[FileInfo]) -> Duplicates:
    contents: dict[str, list[EmbryoImage]] = defaultdict(list)
    for image, info in zip(images, infos, strict=True):
        contents[info.sha256].append(image)
    repeated = [found for found in contents.values() if len(found) > 1]
    return Duplicates(
        contents=len(repeated),
        files=sum(len(found) for found in repeated),
        opposite_labels=sum(1 for found in repeated if {0, 1} <= {image.label for image in found}),
        across_patients=sum(
            1 for found in repeated if len({image.patient or image.embryo for image in found} - {""}) > 1
        ),
        examples=[" = ".join(image.file for image in found[:3]) for found in repeated[:NAMES_SHOWN]],
    )


def data_summary(report: FolderReport) -> dict[str, Any]:
    """What enrolment may send about a folder: counts alone, each below 5 as "<5".

    Returns
    -------
    dict
        `counts`: day to label to count. `image_sizes`: longer side in fixed steps to count. `patients`: count of units
        of the split. There are no totals, from which a suppressed count could be told.
    """
    steps: Counter[str] = Counter()
    for size, count in report.sizes.items():
        steps[_size_step(max(int(side) for side in size.split("x")))] += count
    return {
        "counts": {
            day: {label: _suppressed(count) for label, count in labels.items()} for day, labels in report.counts.items()
        },
        "image_sizes": {step: _suppressed(steps[step]) for step in map(_size_step, (0, *SIZE_STEPS))},
        "patients": _suppressed(report.patients + report.embryos + report.lone_images),
    }


def _size_step(side: int) -> str:
    below = [step for step in SIZE_STEPS if step <= side]
    above = [step for step in SIZE_STEPS if step > side]
    return f"{below[-1] if below else 0}-{above[0] - 1}" if above else f"{below[-1]} and more"


def _suppressed(count: int) -> int | str:
    return count if count >= SMALLEST_COUNT else f"<{SMALLEST_COUNT}"


def print_report(report: FolderReport, console: Console) -> None:
    """Print a report for a person at the clinic."""
    console.print(f"[bold]Data folder[/bold] {_shown(report.root)}")
    if report.layout:
        console.print(f"Layout: {report.layout}")
        console.print(_count_table("Images that can be used", {"": report.counts}))
        console.print(_patients_line(report))
        console.print(f"Sizes: {_listed(report.sizes)}. Pixel formats: {_listed(report.modes)}.")
        _print_duplicates(report.duplicates, console)
        for problem in report.problems:
            style = "yellow" if problem.leaves_out else "dim"
            verb = "left out" if problem.leaves_out else "noted"
            console.print(f"[{style}]{problem.count} {verb}: {problem.kind.replace('_', ' ')}[/] ({problem.meaning})")
            for name in problem.files:
                console.print(f"    {_shown(name)}", soft_wrap=True)
            if problem.count > len(problem.files):
                console.print(f"    and {problem.count - len(problem.files)} more")
        if report.split:
            console.print(_count_table("Split by patient", report.split))
    if report.can_train:
        console.print("[bold green]can train[/bold green]")
    else:
        console.print(f"[bold red]cannot train:[/bold red] {_shown(report.reason)}", soft_wrap=True)


def _count_table(title: str, sides: dict[str, dict[str, Counts]]) -> Table:
    table = Table(title=title, title_justify="left")
    named = list(sides) != [""]
    for column in (["side"] if named else []) + ["day", "label 1", "label 0"] + ([] if named else ["unlabelled"]):
        table.add_column(column, justify="left" if column == "side" else "right")
    for side, days in sides.items():
        for day, labels in days.items():
            counts = [str(labels["1"]), str(labels["0"])] + ([] if named else [str(labels["unlabelled"])])
            table.add_row(*([side] if named else []), day, *counts)
    return table


def _patients_line(report: FolderReport) -> str:
    parts = [
        text
        for count, text in (
            (report.patients, f"{report.patients} patients"),
            (report.embryos, f"{report.embryos} embryos of no known patient"),
            (report.lone_images, f"{report.lone_images} images of no known patient or embryo"),
        )
        if count
    ]
    cohorts = ", ".join(f"{size}: {count}" for size, count in report.cohorts.items())
    return f"{', '.join(parts) or 'No images'}. Images of each (images: how many): {cohorts or '-'}."


def _print_duplicates(duplicates: Duplicates, console: Console) -> None:
    if not duplicates.contents:
        console.print("No two files have the same content.")
        return
    console.print(
        f"[yellow]{duplicates.files} files hold only {duplicates.contents} different images[/yellow]: "
        f"{duplicates.opposite_labels} of these with opposite labels, {duplicates.across_patients} under more than one "
        "patient. They stay on one side of the split."
    )
    for example in duplicates.examples:
        console.print(f"    {_shown(example)}", soft_wrap=True)


def _listed(counts: Counts, most: int = 6) -> str:
    listed = [f"{name} ({count})" for name, count in list(counts.items())[:most]]
    return ", ".join(listed + ([f"{len(counts) - most} others"] if len(counts) > most else [])) or "-"


def _shown(text: str) -> str:
    """Text from file names, without control characters or markup that would act on the terminal."""
    return escape("".join(char if char.isprintable() else "?" for char in text))
