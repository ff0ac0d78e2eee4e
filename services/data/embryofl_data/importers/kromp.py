"""Kromp et al., Scientific Data 2023, figshare `Blastocyst_Dataset.zip`: blastocysts with Gardner grades and outcomes.

`Images/NNNN_NN.png` (`NNN_NN.png` from 201 on), the part before `_` being the patient. Expansion is written 0 to 4 for
Gardner's 1 to 5 (0 and 1 have no ICM and TE grade, as Gardner grades these from 3 on); ICM and TE are 0 = A, 1 = B, 2 = C,
3 or ND = not defined, -1 or NA = not available. Columns that the contract does not hold (AMH, Endo, COC ..., in which a
German spreadsheet made dates of numbers) are not read at all.
"""

import csv
import io
import re
from collections import defaultdict
from dataclasses import replace

from embryofl_data.importers.importer import Importer
from embryofl_data.importers.plan import Options, Plan, PlannedImage, SkippedFile
from embryofl_data.importers.rules import GARDNER_RULES, OUTCOMES, Facts
from embryofl_data.importers.source import Source
from embryofl_data.reading.tables import TableRow, decode_text

GOLD = "Gardner_test_gold_onlyGardnerScores.csv"
SILVER = ("Gardner_train_silver.csv", "complete.csv", "Clincial_annotations.csv")
CLINICAL = "Clincial_annotations.csv"  # spelled so by the publisher
LETTERS = {"0": "A", "1": "B", "2": "C"}
OUTCOME_COLUMNS = {"ss": "biochemical-pregnancy", "ha": "clinical-pregnancy", "lb": "live-birth"}

Key = tuple[int, int]
Grade = tuple[str, str, str]
"""Codes of expansion, ICM and TE as written, decimals dropped."""


def detect(source: Source) -> str:
    """One of its tables, and images named by patient and number."""
    table = next((name for name in (GOLD, *SILVER) if source.named(name)), "")
    return f"{source.named(table)}" if table and any(_key(file) for file in source.images) else ""


def plan(source: Source, options: Options) -> Plan:
    """Every image with its grades and outcomes; gold (several experts) before silver (one)."""
    left_out = list(source.left_out)
    files, doubtful = _files(source, left_out)
    notes: list[str] = []
    gold = _grades(source, (GOLD,), left_out, notes)
    silver = _grades(source, SILVER, left_out, notes)
    outcomes = _outcomes(source, left_out)
    for key in sorted((gold.keys() | silver.keys() | outcomes.keys()) - files.keys() - doubtful):
        left_out.append(SkippedFile(f"{key[0]}_{key[1]}", "in a table, but there is no such image"))
    rows = []
    for key, file in sorted(files.items(), key=lambda item: item[1]):
        grade, contradicted = gold.get(key) or silver.get(key) or (("", "", ""), False)
        facts = Facts() if contradicted else _facts(grade)
        facts = replace(facts, outcomes=outcomes.get(key, {}))
        rows.append(PlannedImage(file, facts, patient=str(key[0]), embryo=f"{key[0]}_{key[1]}"))
    notes.append("expansion 0 to 4 is read as Gardner's 1 to 5; the number before _ is the patient")
    return Plan(tuple(rows), tuple(left_out), tuple(notes))


def _key(file: str) -> Key | None:
    """Patient and number, zeros before them left aside: `187_1.png` and `187_01.png` are one image."""
    match = re.fullmatch(r"(\d{1,6})_(\d{1,4})(\.\w+)?", file.rsplit("/", 1)[-1].strip())
    return (int(match[1]), int(match[2])) if match else None


def _files(source: Source, left_out: list[SkippedFile]) -> tuple[dict[Key, str], set[Key]]:
    found: dict[Key, list[str]] = defaultdict(list)
    for file in source.images:
        key = _key(file)
        if key is None:
            left_out.append(SkippedFile(file, "not named PATIENT_NUMBER"))
        else:
            found[key].append(file)
    doubtful = {key for key, files in found.items() if len(files) > 1}
    left_out += [SkippedFile(file, "two files of this patient and number") for key in doubtful for file in found[key]]
    return {key: files[0] for key, files in found.items() if key not in doubtful}, doubtful


def _grades(
    source: Source, tables: tuple[str, ...], left_out: list[SkippedFile], notes: list[str]
) -> dict[Key, tuple[Grade, bool]]:
    """Grade of each image, and whether tables contradict each other about it (then it counts as not graded)."""
    found: dict[Key, tuple[Grade, bool]] = {}
    for table in tables:
        path = source.named(table)
        if path is None:
            continue
        notes.append(path)
        for where, image, grade in _graded_lines(source, path):
            key = _key(image)
            if key is None:
                left_out.append(SkippedFile(image, "row of a table not named PATIENT_NUMBER", where))
            elif key in found and found[key][0] != grade:
                detail = f"{where}: {'/'.join(grade)} after {'/'.join(found[key][0])}"
                left_out.append(SkippedFile(image, "grade that contradicts another one: counts as not graded", detail))
                found[key] = (found[key][0], True)
            else:
                found.setdefault(key, (grade, False))
    return found


def _graded_lines(source: Source, path: str) -> list[tuple[str, str, Grade]]:
    if path.rsplit("/", 1)[-1].lower() == "complete.csv":
        return _headless_lines(source, path)
    lines = []
    for line in source.table(path, ("image",)).rows:
        grade = (_cell(line, "exp"), _cell(line, "icm"), _cell(line, "te"))
        lines.append((f"{path} row {line.number}", line.cells["image"], grade))
    return lines


def _headless_lines(source: Source, path: str) -> list[tuple[str, str, Grade]]:
    text = decode_text(source.text_bytes(path), path)
    lines = []
    for number, cells in enumerate(csv.reader(io.StringIO(text), skipinitialspace=True), 1):
        if len(cells) >= 4:
            grade = (_code(cells[1]), _code(cells[2]), _code(cells[3]))
            lines.append((f"{path} row {number}", cells[0].strip(), grade))
    return lines


def _cell(line: TableRow, kind: str) -> str:
    """The cell of `EXP_silver`, `EXP_gold` or `EXP`."""
    return next((_code(cell) for column, cell in line.cells.items() if column.split("_")[0] == kind), "")


def _code(cell: str) -> str:
    return re.sub(r"[.,]0+$", "", cell.strip()).upper()


def _facts(grade: Grade) -> Facts:
    expansion, icm, te = grade
    return Facts(
        expansion=int(expansion) + 1 if expansion in ("0", "1", "2", "3", "4") else None,
        icm=LETTERS.get(icm, ""),
        te=LETTERS.get(te, ""),
    )


def _outcomes(source: Source, left_out: list[SkippedFile]) -> dict[Key, dict[str, int | None]]:
    path = source.named(CLINICAL)
    found: dict[Key, dict[str, int | None]] = {}
    for line in source.table(path, ("image",)).rows if path else ():
        key = _key(line.cells["image"])
        if key is None:
            left_out.append(
                SkippedFile(line.cells["image"], "row of a table not named PATIENT_NUMBER", f"{path} row {line.number}")
            )
            continue
        codes = {name: _code(line.cells.get(column, "")) for column, name in OUTCOME_COLUMNS.items()}
        found[key] = {name: int(code) if code in ("0", "1") else None for name, code in codes.items()}
    return found


IMPORTER = Importer("kromp", "Kromp et al. 2023 / figshare", (*GARDNER_RULES, *OUTCOMES, "none"), "", detect, plan)
