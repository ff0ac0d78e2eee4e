"""A folder of images to score, labelled or not, as embryos in cohorts."""

import posixpath
import re
from dataclasses import dataclass
from pathlib import Path

from embryofl.errors import DataError
from embryofl_data.reading.contract import COLUMNS, EmbryoImage, Problem
from embryofl_data.reading.layouts import CONTRACT_PLACES, read_folder
from embryofl_data.reading.listing import Listing, list_images, locate
from embryofl_data.reading.tables import TableRow


@dataclass(frozen=True)
class ImageToScore:
    """One image to score.

    Attributes
    ----------
    file : str
        Relative to the folder.
    cohort : str
        The patient or the sub-folder, whatever the day; "" if unknown, then there is no rank.
    embryo : str
        Images of one embryo of a cohort on one day are views of it; "" if the image is an embryo of its own.
    day : int or None
    """

    file: str
    cohort: str = ""
    embryo: str = ""
    day: int | None = None

    @property
    def unit(self) -> tuple[object, ...]:
        """Identifies the embryo."""
        return (self.cohort, self.embryo, self.day) if self.embryo else (self.file,)


def read_images(root: Path) -> tuple[list[ImageToScore], list[Problem]]:
    """All images of a folder in the order of their files, and the problems found.

    A `labels.csv` gives patient, embryo and day; its column `label` may be missing and is never read. Without one the
    sub-folder is the cohort, unless the sub-folders are classes (`good/`, `poor/`).

    Raises
    ------
    DataError
        When the folder cannot be read, has no image, or its `labels.csv` is not a table.
    """
    listing = list_images(root)
    if not listing.files:
        raise DataError("D2", f"There is no image in {root}. Expected image files of the types png, jpg, tif or bmp.")
    if listing.top_file("labels.csv") is not None:
        return _by_table(listing)
    try:
        folder = read_folder(root)
    except DataError:  # no layout with labels: none is needed
        return [ImageToScore(file, _sub_folder(file)) for file in listing.files], list(listing.problems)
    return [ImageToScore(i.file, i.patient, i.embryo, i.day) for i in folder.images], list(folder.problems)


def _sub_folder(file: str) -> str:
    """The cohort of an image without a table: its sub-folder; all images at the top are one cohort."""
    return posixpath.dirname(file).removeprefix("images/") or "images"


def _by_table(listing: Listing) -> tuple[list[ImageToScore], list[Problem]]:
    table = listing.table("labels.csv", ("image",), tuple(c for c in COLUMNS if c != "image"))
    assert table is not None
    rows: dict[str, TableRow] = {}
    problems = list(listing.problems)
    for row in table.rows:
        file = locate(listing, row.cells["image"], CONTRACT_PLACES, f"{table.name} row {row.number}")
        if isinstance(file, Problem):
            problems.append(file)
        elif rows.setdefault(file, row).number != row.number and _described(file, rows[file]) != _described(file, row):
            problems.append(
                Problem(file, "contradiction", f"rows {rows[file].number} and {row.number}: the first counts")
            )
    unnamed = TableRow(0, {}, False)
    files = sorted({*listing.files, *rows})
    return [_described(file, rows.get(file, unnamed)) for file in files], problems


def _described(file: str, row: TableRow) -> ImageToScore:
    day = re.fullmatch(r"(?:d|day)?\s*(\d{1,2})(?:[.,]0+)?", row.cells.get("day", "").lower())
    number = int(day[1]) if day and int(day[1]) <= 10 else None
    image = EmbryoImage(file, patient=row.cells.get("patient", ""), embryo=row.cells.get("embryo", ""))
    return ImageToScore(file, image.patient, image.embryo, number)
