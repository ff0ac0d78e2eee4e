"""STORK (Khosravi et al., npj Digital Medicine 2019): blastocysts with a Gardner grade in the file name.

`Images/train/{good,poor}/<embryo>_<rotation>_<grade>.jpg` and `Images/test/[{good,poor}_]<embryo>_<rotation>_<grade>.jpg`.
Rotations from -45 to 45 are copies of one picture: only the one nearest to 0 is taken.
"""

import re
from collections import defaultdict

from embryofl_data.importers.importer import Importer
from embryofl_data.importers.plan import Options, Plan, PlannedImage, SkippedFile
from embryofl_data.importers.rules import GARDNER_RULES, Facts, parse_gardner
from embryofl_data.importers.source import Source

NAME = re.compile(r"(?:(good|poor)_)?(\d+)_(-?\d+)_([1-6][ABC]-?[ABC]-?)\.\w+", re.IGNORECASE)
VERDICTS = {"good": 1, "poor": 0}


def detect(source: Source) -> str:
    """Most images named by embryo, rotation and grade."""
    named = [file for file in source.images if NAME.fullmatch(file.rsplit("/", 1)[-1])]
    return f"names such as {named[0]}" if len(named) > len(source.images) / 2 else ""


def plan(source: Source, options: Options) -> Plan:
    """One picture of each embryo, with its grade, and the verdict where name or folder states one."""
    left_out = list(source.left_out)
    copies: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for file in source.images:
        match = NAME.fullmatch(file.rsplit("/", 1)[-1])
        if match is None:
            left_out.append(SkippedFile(file, "not named EMBRYO_ROTATION_GRADE"))
        else:
            copies[match[2]].append((int(match[3]), file))
    rows = []
    for embryo, found in sorted(copies.items()):
        found.sort(key=lambda copy: (abs(copy[0]), copy))
        file = found[0][1]
        left_out += [SkippedFile(copy, "turned copy", f"of {file}, by {angle} degrees") for angle, copy in found[1:]]
        verdicts = {verdict for _, copy in found for verdict in _verdicts(copy)}
        grades = {_grade(copy) for _, copy in found}
        if len(grades) > 1 or len(verdicts) > 1:
            left_out.append(SkippedFile(file, "its copies state different grades or verdicts"))
        else:
            rows.append(PlannedImage(file, _facts(grades.pop(), verdicts), embryo=embryo, day="5"))
    return Plan(tuple(rows), tuple(left_out), ("STORK's pictures are of day 5 (110 hours)",))


def _verdicts(file: str) -> set[str]:
    folder, _, name = file.lower().rpartition("/")
    parts = {folder.rpartition("/")[2], name.split("_", 1)[0]}
    return parts & VERDICTS.keys()


def _grade(file: str) -> tuple[int | None, str, str]:
    match = NAME.fullmatch(file.rsplit("/", 1)[-1])
    return parse_gardner(match[4]) if match else (None, "", "")


def _facts(grade: tuple[int | None, str, str], verdicts: set[str]) -> Facts:
    verdict = next(iter(verdicts), "")
    return Facts(*grade, stated=VERDICTS.get(verdict), stated_by=f"{verdict!r} in name or folder" if verdict else "")


IMPORTER = Importer(
    "stork", "STORK / npj Digital Medicine 2019", ("stated", *GARDNER_RULES, "none"), "stated", detect, plan
)
