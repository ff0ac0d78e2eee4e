"""Readers of the folder layouts, one function each, tried in a fixed order by `read_folder`.

1. `labels.csv`: the data contract.
2. `kaggle`: `train.csv` with `Image,Class` (World Championship 2023 Embryo Classification, Hung Vuong Hospital).
3. `file names`: `embryo_0001_label_1.png`.
4. `class folders`: one folder per class.
"""

import posixpath
import re
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

from embryofl.errors import DataError
from embryofl_data.reading.contract import COLUMNS, OPTIONAL_COLUMNS, REQUIRED_COLUMNS, DataFolder, EmbryoImage, Problem
from embryofl_data.reading.listing import Listing, list_images, locate
from embryofl_data.reading.tables import TableRow

LABELS = {"1": 1, "1.0": 1, "1,0": 1, "0": 0, "0.0": 0, "0,0": 0, "": None}
"""Known label cells. Spreadsheets and pandas write 1.0 for 1 in a column with gaps."""

CONTRACT_PLACES = ("", "images")
"""Where the paths of a `labels.csv` are looked up: relative to the folder, or to `images`."""

CLASS_FOLDERS = ({"good": 1, "poor": 0}, {"viable": 1, "nonviable": 0}, {"1": 1, "0": 0})
UNLABELLED_FOLDERS = frozenset({"unlabelled", "unlabeled"})

HOW_TO_LABEL = (
    "Expected one of: a labels.csv with the columns image,label (1, 0 or empty) and, where known, "
    f"{','.join(OPTIONAL_COLUMNS)}; the Kaggle layout with a train.csv (Image,Class) and a folder train; file names "
    "such as embryo_0001_label_1.png; or one folder per class named good and poor, viable and nonviable, or 1 and 0. "
    "Write a labels.csv with one row per image."
)


def read_folder(root: Path) -> DataFolder:
    """Read a clinic's data folder, without decoding any image, changing anything in it or reading anything outside.

    Raises
    ------
    DataError
        When the folder is missing, has no image or no known layout, or its table is unusable.
    """
    root = Path(root)
    listing = list_images(root)
    if not listing.files:
        others = f" (other files at the top: {', '.join(listing.tables[:5])})" if listing.tables else ""
        raise DataError(
            "D2",
            f"There is no image in {root}{others}. Expected image files of the types png, jpg, tif or bmp, preferably "
            "in a sub-folder images next to a labels.csv. Copy the images there, or name another folder.",
        )
    for name, layout in LAYOUTS:
        read = layout(listing)
        if read is not None:
            images, problems = read
            ordered = tuple(sorted(images, key=lambda image: image.file))
            return DataFolder(root, name, ordered, tuple(dict.fromkeys([*listing.problems, *problems])))
    raise _no_layout(listing)


Content = tuple[list[EmbryoImage], list[Problem]] | None


def labels_csv(listing: Listing) -> Content:
    """The data contract: `labels.csv`, paths relative to the folder or to `images`."""
    table = listing.table("labels.csv", REQUIRED_COLUMNS, OPTIONAL_COLUMNS)
    if table is None:
        return None
    problems = [
        Problem(table.name, "ignored_column", f"column {column!r} is ignored; known are {', '.join(COLUMNS)}")
        for column in table.columns
        if column and column not in COLUMNS
    ]
    images, more = _from_rows(listing, table.name, table.rows, _contract_row, CONTRACT_PLACES)
    return images, problems + more


def kaggle(listing: Listing) -> Content:
    """`train.csv` (`Image,Class`), `train/`, `test/`, and `same_embryo.csv` (`Image,Embryo`) where there is one."""
    table = listing.table("train.csv", ("image", "class"))
    if table is None:
        return None
    problems: list[Problem] = []
    embryos: dict[str, str] = {}
    same = listing.table("same_embryo.csv", ("image", "embryo"))
    for row in same.rows if same else ():
        name, embryo = posixpath.basename(row.cells["image"].replace("\\", "/")), row.cells["embryo"]
        if embryos.setdefault(name, embryo) != embryo:
            detail = f"{same.name if same else ''} row {row.number}: already in the group {embryos[name]}"
            problems.append(Problem(row.cells["image"], "duplicate_row", detail))

    def make(file: str, label: int | None, _row: TableRow) -> tuple[EmbryoImage, list[Problem]]:
        name = posixpath.basename(file)
        day = re.match(r"[Dd](\d)_", name)
        return EmbryoImage(file, label, embryo=embryos.get(name, ""), day=int(day[1]) if day else None), []

    images, more = _from_rows(listing, table.name, table.rows, make, ("train", ""), label_column="class")
    test = listing.table("test.csv", ("image",))
    for row in test.rows if test else ():
        file = locate(listing, row.cells["image"], ("test", ""), f"test.csv row {row.number}")
        if isinstance(file, Problem):
            more.append(file)
    return images, problems + more


def file_names(listing: Listing) -> Content:
    """`<embryo>_label_<1 or 0>.<type>`; files without `_label_` are unlabelled. The part before it names the embryo."""
    pattern = re.compile(r"(.*)_label_(.*)", re.IGNORECASE)
    if not any(pattern.fullmatch(posixpath.splitext(posixpath.basename(file))[0]) for file in listing.files):
        return None
    images: list[EmbryoImage] = []
    problems: list[Problem] = []
    for file in listing.files:
        match = pattern.fullmatch(posixpath.splitext(posixpath.basename(file))[0])
        if match is None:
            images.append(EmbryoImage(file))
        elif match[2] in LABELS:
            images.append(EmbryoImage(file, LABELS[match[2]], embryo=match[1]))
        else:
            problems.append(Problem(file, "bad_label", f"the name holds label {match[2]!r}; expected 1 or 0"))
    return images, problems


def class_folders(listing: Listing) -> Content:
    """One folder per class, at the top or in a single folder; images outside the class folders are unlabelled."""
    common = posixpath.commonpath([posixpath.dirname(file) for file in listing.files] or [""])
    class_names = set().union(*CLASS_FOLDERS)
    above = len(list(takewhile(lambda folder: folder and folder.lower() not in class_names, common.split("/"))))
    folders = {file: file.split("/")[above:-1] for file in listing.files}
    classes = {inside[0].lower() for inside in folders.values() if inside} - UNLABELLED_FOLDERS
    names = next((labels for labels in CLASS_FOLDERS if classes and classes <= labels.keys()), None)
    if names is None:
        return None
    return [EmbryoImage(file, names.get(inside[0].lower()) if inside else None) for file, inside in folders.items()], []


LAYOUTS: tuple[tuple[str, Callable[[Listing], Content]], ...] = (
    ("labels.csv", labels_csv),
    ("kaggle", kaggle),
    ("file names", file_names),
    ("class folders", class_folders),
)


def _no_layout(listing: Listing) -> DataError:
    folders = sorted({posixpath.dirname(file) or "(the folder itself)" for file in listing.files})
    more = f" and {len(folders) - 6} more" if len(folders) > 6 else ""
    tables = f"; other files at the top: {', '.join(listing.tables[:6])}" if listing.tables else ""
    deeper = (
        f" There is a table in its sub-folder {listing.deeper[0]}: was that folder meant?" if listing.deeper else ""
    )
    return DataError(
        "D2",
        f"{listing.root} has {len(listing.files)} images, but nothing that gives their labels. They are in "
        f"{', '.join(folders[:6])}{more}{tables}.{deeper} {HOW_TO_LABEL}",
    )


def _from_rows(
    listing: Listing,
    table: str,
    rows: tuple[TableRow, ...],
    make: Callable[[str, int | None, TableRow], tuple[EmbryoImage, list[Problem]]],
    below: tuple[str, ...],
    label_column: str = "label",
) -> tuple[list[EmbryoImage], list[Problem]]:
    """Turn a table's rows into images; images of the folder that no row names are unlabelled.

    A file with an unknown label or with rows that differ is skipped, not used as unlabelled.
    """
    images: dict[str, tuple[EmbryoImage, int]] = {}
    skipped: set[str] = set()
    problems: list[Problem] = []
    for row in rows:
        where = f"{table} row {row.number}"
        file = locate(listing, row.cells["image"], below, where)
        if isinstance(file, Problem):
            problems.append(file)
            continue
        label = row.cells[label_column]
        if row.surplus:
            problems.append(Problem(file, "bad_row", f"{where}: more cells than columns; is the separator in a name?"))
            skipped.add(file)
        elif label not in LABELS:
            problems.append(Problem(file, "bad_label", f"{where}: label {label[:40]!r}; expected 1, 0 or empty"))
            skipped.add(file)
        else:
            image, notes = make(file, LABELS[label], row)
            first, number = images.setdefault(file, (image, row.number))
            if number == row.number:
                problems.extend(notes)
            elif first == image:
                problems.append(Problem(file, "duplicate_row", f"{where}: repeats row {number}"))
            else:
                problems.append(Problem(file, "contradiction", f"{where}: contradicts row {number}"))
                skipped.add(file)
    for file in listing.files:
        if file not in images and file not in skipped:
            images[file] = make(file, None, TableRow(0, {}, False))[0], 0
    return [image for file, (image, _) in images.items() if file not in skipped], problems


def _contract_row(file: str, label: int | None, row: TableRow) -> tuple[EmbryoImage, list[Problem]]:
    cells = {column: row.cells.get(column, "") for column in OPTIONAL_COLUMNS}
    written = cells.pop("day")
    match = re.fullmatch(r"(?:d|day)?\s*(\d{1,2})(?:[.,]0+)?", written.lower())
    day = int(match[1]) if match and int(match[1]) <= 10 else None
    notes = []
    if written and day is None:
        detail = f"row {row.number}: day {written[:40]!r}; expected a number from 0 to 10"
        notes.append(Problem(file, "bad_day", detail))
    return EmbryoImage(file, label, day=day, **cells), notes
