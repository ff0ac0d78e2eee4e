"""What a clinic's data folder is read into: images, problems, and the folder that holds them."""

from dataclasses import dataclass
from pathlib import Path

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})

REQUIRED_COLUMNS = ("image", "label")
OPTIONAL_COLUMNS = ("patient", "embryo", "day", "expansion", "icm", "te", "frame", "focal_plane")
COLUMNS = REQUIRED_COLUMNS + OPTIONAL_COLUMNS

PROBLEM_KINDS: dict[str, str] = {
    "animated": "more than one frame: the first one is used",
    "archive": "archive: its content is not looked at",
    "bad_day": "day that is not a number from 0 to 10: the image is used, its day is unknown",
    "dicom": "DICOM file: not read as it is",
    "duplicate_row": "row that says the same as an earlier one",
    "ignored_column": "column that is not part of the data contract",
    "bad_name": "file name that is not in UTF-8: rename the file",
    "bad_label": "label other than 1, 0 or empty",
    "bad_row": "row that cannot be read",
    "contradiction": "rows that contradict each other about one image",
    "empty": "file of zero bytes",
    "missing": "file that is not there",
    "not_an_image": "file of a type that is not read",
    "outside_folder": "path that leads out of the folder",
    "special_file": "pipe, socket or device: never opened",
    "too_deep": "folder too many folders down",
    "too_large": "image with too many pixels or bytes",
    "too_small": "image with too few pixels",
    "truncated": "image file that ends too early",
    "unreadable": "file that is no image, or a damaged one",
}
NOTE_KINDS = frozenset({"animated", "bad_day", "duplicate_row", "ignored_column"})
"""Kinds of problem that leave no image out."""


@dataclass(frozen=True)
class EmbryoImage:
    """One image of one embryo, as the folder's tables and names describe it.

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
        """The unit that stays on one side of every split: the patient, else the embryo, else the file."""
        return self.patient or self.embryo or self.file

    @property
    def unit(self) -> tuple[object, ...]:
        """What counts as one embryo: images of one embryo of one patient, on one day and with one label; else the file."""
        return (self.patient, self.embryo, self.day, self.label) if self.embryo else (self.file,)


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
        What was found, for a person.
    """

    file: str
    kind: str
    detail: str

    @property
    def leaves_out(self) -> bool:
        """Whether the image (or row) is left out because of this."""
        return self.kind not in NOTE_KINDS


@dataclass(frozen=True)
class DataFolder:
    """A data folder after reading its tables and names; no image has been decoded yet.

    Attributes
    ----------
    root : Path
        The folder.
    layout : str
        `labels.csv`, `kaggle`, `file names` or `class folders`.
    images : tuple of EmbryoImage
        In the order of their files, each file once, unlabelled ones included.
    problems : tuple of Problem
        What was left out or noted.
    """

    root: Path
    layout: str
    images: tuple[EmbryoImage, ...]
    problems: tuple[Problem, ...]
