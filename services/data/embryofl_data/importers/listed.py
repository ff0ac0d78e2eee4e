"""Layouts that a clinic's folder may have as it is: read by the same readers as there, so that both agree.

Hung Vuong / Kaggle (`train.csv`, `Image,Class`), labels in file names (`embryo_0001_label_1.png`), a folder per class.
"""

from collections.abc import Callable

from embryofl_data.importers.importer import Importer
from embryofl_data.importers.plan import Options, Plan, PlannedImage, SkippedFile
from embryofl_data.importers.rules import Facts
from embryofl_data.importers.source import Source
from embryofl_data.reading.contract import EmbryoImage, Problem
from embryofl_data.reading.layouts import Found, class_folders, file_names, kaggle
from embryofl_data.reading.listing import Listing

Reader = Callable[[Listing], Found]


def _base(source: Source, table: str) -> str:
    """The folder of a table, else the one folder that holds everything; "" or ending in /."""
    file = source.named(table) if table else None
    if file is not None:
        return file[: -len(table)]
    base = ""
    while True:
        inside = [entry[len(base) :] for entry in source.entries]
        heads = {entry.split("/", 1)[0] for entry in inside}
        if len(heads) != 1 or "/" not in inside[0]:
            return base
        base += heads.pop() + "/"


def _read(source: Source, reader: Reader, table: str) -> tuple[str, list[EmbryoImage], list[Problem]] | None:
    base = _base(source, table)
    found = reader(source.listing(base))
    return (base, *found) if found else None


def _importer(name: str, title: str, reader: Reader, table: str, stated_by: str, evidence: str) -> Importer:
    def detect(source: Source) -> str:
        if table and source.named(table) is None:
            return ""
        return evidence if _read(source, reader, table) else ""

    def plan(source: Source, options: Options) -> Plan:
        found = _read(source, reader, table)
        if found is None:
            return Plan((), source.left_out)
        base, images, problems = found
        left_out = [SkippedFile(problem.file, problem.detail) for problem in problems if problem.leaves_out]
        outside = [file for file in source.images if not file.startswith(base)]
        left_out += [SkippedFile(file, f"outside the folder {base}") for file in outside]
        rows = [
            PlannedImage(
                base + image.file,
                Facts(stated=image.label, stated_by=stated_by if image.label is not None else ""),
                image.patient,
                image.embryo,
                "" if image.day is None else str(image.day),
            )
            for image in sorted(images, key=lambda image: image.file)
        ]
        return Plan(tuple(rows), (*source.left_out, *left_out), (f"read: {table}",) if table else ())

    return Importer(name, title, ("stated", "none"), "stated", detect, plan)


HUNGVUONG = _importer(
    "hungvuong", "Hung Vuong / Kaggle 2023", kaggle, "train.csv", "Class in train.csv", "train.csv with Image and Class"
)
FILE_NAMES = _importer(
    "file-names", "Labels in file names", file_names, "", "the file name", "names such as embryo_0001_label_1.png"
)
CLASS_FOLDERS = _importer(
    "class-folders", "One folder per class", class_folders, "", "the folder's name", "folders named after classes"
)
