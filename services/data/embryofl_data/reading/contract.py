"""What a clinic's data folder is read into: images, problems, and the folder that holds them."""

import tomllib
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})

REQUIRED_COLUMNS = ("image", "label")
OPTIONAL_COLUMNS = ("patient", "embryo", "day", "expansion", "icm", "te", "frame", "focal_plane")
COLUMNS = REQUIRED_COLUMNS + OPTIONAL_COLUMNS

_PROBLEMS = tomllib.loads(resources.files(__package__).joinpath("problems.toml").read_text("utf-8"))
PROBLEM_KINDS: dict[str, str] = {kind: texts["meaning"] for kind, texts in _PROBLEMS.items()}
UNREAD_SUFFIXES: dict[str, str] = {
    suffix: kind for kind, texts in _PROBLEMS.items() for suffix in texts.get("suffixes", ())
}
"""Suffixes of files that hold images but are not read, to the kind of problem."""
ADVICE: dict[str, str] = {kind: texts["advice"] for kind, texts in _PROBLEMS.items() if "advice" in texts}


@dataclass(frozen=True)
class EmbryoImage:
    """One image of one embryo, as the folder's tables and names describe it; the fields are in the order of `COLUMNS`.

    Attributes
    ----------
    file : str
        POSIX path relative to the folder, with symbolic links inside the folder resolved.
    label : int or None
        1, 0, or None where the image is unlabelled.
    patient, embryo : str
        Names as the clinic gives them, "" where unknown.
    day : int or None
        Day of development from 0 to 10, None where unknown.
    expansion, icm, te : str
        Gardner grade as written, "" where unknown.
    frame, focal_plane : str
        Which of several images of one embryo, in time and in depth, as written; "" where there is one.
    """

    file: str
    label: int | None = None
    patient: str = ""
    embryo: str = ""
    day: int | None = None
    expansion: str = ""
    icm: str = ""
    te: str = ""
    frame: str = ""
    focal_plane: str = ""

    @property
    def group(self) -> str:
        """The unit that stays in one split: the patient, else the embryo, else the file."""
        return self.patient or self.embryo or self.file

    @property
    def unit(self) -> tuple[object, ...]:
        """What counts as one embryo: images of one embryo of one patient, on one day and with one label; else the file."""
        return (self.patient, self.embryo, self.day, self.label) if self.embryo else (self.file,)

    @property
    def row(self) -> list[str]:
        """Its row of a `labels.csv`."""
        values = (getattr(self, each.name) for each in fields(self))
        return ["" if value is None else str(value) for value in values]


@dataclass(frozen=True)
class Problem:
    """Something in the folder that is not as expected.

    Attributes
    ----------
    file : str
        The image as the table or the folder names it, or the table's own name. May name a patient: it stays local.
    kind : str
        One of `PROBLEM_KINDS`.
    detail : str
        What is wrong, for a person.
    """

    file: str
    kind: str
    detail: str

    @property
    def leaves_out(self) -> bool:
        """Whether the image (or row) is skipped because of this."""
        return self.kind in ADVICE


@dataclass(frozen=True)
class DataFolder:
    """A data folder after reading its tables and names; no image has been decoded yet.

    Attributes
    ----------
    layout : str
        `labels.csv`, `kaggle`, `file names` or `class folders`.
    images : tuple of EmbryoImage
        In the order of their files, each file once, unlabelled ones included.
    problems : tuple of Problem
        What is skipped or noted.
    """

    root: Path
    layout: str
    images: tuple[EmbryoImage, ...]
    problems: tuple[Problem, ...]


def printable(text: str, instead: str = "?") -> str:
    """Text without control and direction characters: file names must not act on a terminal or page."""
    return "".join(char if char.isprintable() else instead for char in text)
