"""Layouts that a clinic's folder may already have: read by the same readers, so that both agree.

Hung Vuong / Kaggle (`train.csv`, `Image,Class`), labels in file names (`embryo_0001_label_1.png`), a folder per class.
"""

import posixpath
from collections.abc import Callable

from embryofl_data.importers.plan import Importer, Options, Plan, PlannedImage
from embryofl_data.importers.rules import Facts
from embryofl_data.importers.source import Source
from embryofl_data.reading.contract import EmbryoImage, Problem
from embryofl_data.reading.layouts import Content, class_folders, file_names, kaggle
from embryofl_data.reading.listing import Listing

Reader = Callable[[Listing], Content]


def _base(source: Source, table: str) -> str:
    """The folder of a table, else the one folder that holds everything; "" or ending in /."""
    file = source.named(table) if table else None
    if file is not None:
        return file[: -len(table)]
    return posixpath.join(posixpath.commonpath([posixpath.dirname(entry) for entry in source.entries] or [""]), "")


def _read(source: Source, reader: Reader, table: str) -> tuple[str, list[EmbryoImage], list[Problem]] | None:
    base = _base(source, table)
    content = reader(source.listing(base))
    return (base, *content) if content else None


def _importer(name: str, title: str, reader: Reader, table: str, stated_by: str, evidence: str) -> Importer:
    def detect(source: Source) -> str:
        if table and source.named(table) is None:
            return ""
        return evidence if _read(source, reader, table) else ""

    def fill(plan: Plan, source: Source, options: Options) -> None:
        content = _read(source, reader, table)
        if content is None:
            return
        base, images, problems = content
        for problem in problems:
            if problem.leaves_out:
                plan.skip(problem.file, problem.detail)
        for file in source.images:
            if not file.startswith(base):
                plan.skip(file, f"outside the folder {base}")
        for image in sorted(images, key=lambda image: image.file):
            facts = Facts(stated=image.label, stated_by=stated_by if image.label is not None else "")
            day = "" if image.day is None else str(image.day)
            plan.images.append(PlannedImage(base + image.file, facts, image.patient, image.embryo, day))
        plan.notes += [f"read: {table}"] if table else []

    return Importer(name, title, ("stated", "none"), detect, fill)


HUNGVUONG = _importer(
    "hungvuong", "Hung Vuong / Kaggle 2023", kaggle, "train.csv", "Class in train.csv", "train.csv with Image and Class"
)
FILE_NAMES = _importer(
    "file-names", "Labels in file names", file_names, "", "the file name", "names such as embryo_0001_label_1.png"
)
CLASS_FOLDERS = _importer(
    "class-folders", "One folder per class", class_folders, "", "the folder's name", "folders named after classes"
)
