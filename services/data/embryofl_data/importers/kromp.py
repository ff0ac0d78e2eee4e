"""Kromp et al., Scientific Data 2023, figshare `Blastocyst_Dataset.zip`: blastocysts with Gardner grades and outcomes.

`Images/NNNN_NN.png` (`NNN_NN.png` from 201 on), the part before `_` being the patient. Expansion is written 0 to 4 for
Gardner's 1 to 5 (0 and 1 have no ICM and TE grade, as Gardner grades these from 3 on); ICM and TE are 0 = A, 1 = B, 2 = C,
3 or ND = not defined, -1 or NA = not available. Columns that are not in the contract (AMH, Endo, COC ..., in which a German
spreadsheet turned numbers into dates) are not read at all.
"""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from embryofl.errors import UserError
from embryofl_data.importers.plan import Importer, Options, Plan, PlannedImage, bare
from embryofl_data.importers.rules import GARDNER_RULES, OUTCOMES, Facts
from embryofl_data.importers.source import Source
from embryofl_data.reading.tables import TableRow, decode_text

GOLD = "Gardner_test_gold_onlyGardnerScores.csv"
CLINICAL = "Clincial_annotations.csv"  # spelled so by the publisher
SILVER = ("Gardner_train_silver.csv", "complete.csv", CLINICAL)
LETTERS = {"0": "A", "1": "B", "2": "C"}
OUTCOME_COLUMNS = {"ss": "biochemical-pregnancy", "ha": "clinical-pregnancy", "lb": "live-birth"}

Key = tuple[int, int]
Grade = tuple[str, str, str]
"""Codes of expansion, ICM and TE as written, without decimals."""


def detect(source: Source) -> str:
    """One of its tables, and images named by patient and number."""
    table = next((name for name in (GOLD, *SILVER) if source.named(name)), "")
    return f"{source.named(table)}" if table and any(_key(file) for file in source.images) else ""


def fill(plan: Plan, source: Source, options: Options) -> None:
    """Every image with its grades and outcomes; gold (several experts) before silver (one)."""
    files, ambiguous = _files(source, plan)
    gold, silver = _grades(source, (GOLD,), plan), _grades(source, SILVER, plan)
    outcomes = _outcomes(source, plan)
    for patient, number in sorted((gold.keys() | silver.keys() | outcomes.keys()) - files.keys() - ambiguous):
        plan.skip(f"{patient}_{number}", "in a table, but there is no such image")
    for key, file in sorted(files.items(), key=lambda item: item[1]):
        grade, contradicted = gold.get(key) or silver.get(key) or (("", "", ""), False)
        facts = replace(Facts() if contradicted else _facts(grade), outcomes=outcomes.get(key, {}))
        plan.images.append(PlannedImage(file, facts, patient=str(key[0]), embryo=f"{key[0]}_{key[1]}"))
    plan.notes.append("expansion 0 to 4 is read as Gardner's 1 to 5; the number before _ is the patient")


def _key(file: str) -> Key | None:
    """Patient and number without leading zeros: `187_1.png` and `187_01.png` are one image."""
    match = re.fullmatch(r"(\d{1,6})_(\d{1,4})(\.\w+)?", bare(file).strip())
    return (int(match[1]), int(match[2])) if match else None


def _row_key(image: str, where: str, plan: Plan) -> Key | None:
    key = _key(image)
    if key is None:
        plan.skip(image, "row of a table not named PATIENT_NUMBER", where)
    return key


def _files(source: Source, plan: Plan) -> tuple[dict[Key, str], set[Key]]:
    by_key: dict[Key, list[str]] = defaultdict(list)
    for file in source.images:
        if key := _key(file):
            by_key[key].append(file)
        else:
            plan.skip(file, "not named PATIENT_NUMBER")
    ambiguous = {key for key, files in by_key.items() if len(files) > 1}
    for file in (file for key in ambiguous for file in by_key[key]):
        plan.skip(file, "two files of this patient and number")
    return {key: files[0] for key, files in by_key.items() if key not in ambiguous}, ambiguous


def _grades(source: Source, tables: tuple[str, ...], plan: Plan) -> dict[Key, tuple[Grade, bool]]:
    """Grade of each image, and whether tables contradict each other about it (then it counts as not graded)."""
    grades: dict[Key, tuple[Grade, bool]] = {}
    for path in filter(None, map(source.named, tables)):
        plan.notes.append(path)
        for where, image, grade in _graded_lines(source, path):
            key = _row_key(image, where, plan)
            if key is None:
                continue
            first, contradicted = grades.setdefault(key, (grade, False))
            if first != grade:
                detail = f"{where}: {'/'.join(grade)} after {'/'.join(first)}"
                plan.skip(image, "grade that contradicts another one: counts as not graded", detail)
                grades[key] = (first, True)
    return grades


def _graded_lines(source: Source, path: str) -> Iterator[tuple[str, str, Grade]]:
    """Place in the table, image and grade."""
    if bare(path).lower() == "complete.csv":  # without a header
        text = decode_text(source.text_bytes(path), path)
        try:
            rows = list(csv.reader(io.StringIO(text), skipinitialspace=True))
        except csv.Error as error:
            raise UserError(
                "D7", f"{path} cannot be read as a table ({error}). Get it again from its publisher."
            ) from error
        for number, cells in enumerate(rows, 1):
            if len(cells) >= 4:
                yield f"{path} row {number}", cells[0].strip(), (_code(cells[1]), _code(cells[2]), _code(cells[3]))
        return
    for row in source.rows(path, "image"):
        yield f"{path} row {row.number}", row.cells["image"], (_cell(row, "exp"), _cell(row, "icm"), _cell(row, "te"))


def _cell(row: TableRow, kind: str) -> str:
    """The cell of `EXP_silver`, `EXP_gold` or `EXP`."""
    return next((_code(cell) for column, cell in row.cells.items() if column.split("_")[0] == kind), "")


def _code(cell: str) -> str:
    return re.sub(r"[.,]0+$", "", cell.strip()).upper()


def _facts(grade: Grade) -> Facts:
    expansion, icm, te = grade
    return Facts(
        expansion=int(expansion) + 1 if expansion in ("0", "1", "2", "3", "4") else None,
        icm=LETTERS.get(icm, ""),
        te=LETTERS.get(te, ""),
    )


def _outcomes(source: Source, plan: Plan) -> dict[Key, dict[str, int | None]]:
    path = source.named(CLINICAL)
    outcomes: dict[Key, dict[str, int | None]] = {}
    for row in source.rows(path, "image"):
        if key := _row_key(row.cells["image"], f"{path} row {row.number}", plan):
            codes = {name: _code(row.cells.get(column, "")) for column, name in OUTCOME_COLUMNS.items()}
            outcomes[key] = {name: int(code) if code in ("0", "1") else None for name, code in codes.items()}
    return outcomes


IMPORTER = Importer("kromp", "Kromp et al. 2023 / figshare", (*GARDNER_RULES, *OUTCOMES, "none"), detect, fill)
