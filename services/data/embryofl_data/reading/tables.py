"""CSV tables as clinics write them: any usual encoding and separator, headers in any case."""

import csv
import io
import itertools
from dataclasses import dataclass
from pathlib import Path

from embryofl.errors import DataError

SEPARATORS = (",", ";", "\t")
MAX_TABLE_BYTES, MAX_LINES, MAX_CELLS, MAX_COLUMNS = 64 * 2**20, 1_000_000, 10_000_000, 1_000
"""What a table may have: in memory it becomes many times as large."""


@dataclass(frozen=True)
class TableRow:
    """One row of a table: its line number in the file from 1, and its trimmed cells by column name in lower case.

    Cells that a short row lacks are "". `surplus`: it has more filled cells than the header has columns.
    """

    number: int
    cells: dict[str, str]
    surplus: bool


@dataclass(frozen=True)
class Table:
    """A table with its column names in lower case, without spaces around them."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]


def decode_text(data: bytes, name: str) -> str:
    """Decode a table's bytes: UTF-8 (with or without BOM), UTF-16, else Windows-1252, else Latin-1.

    Raises
    ------
    DataError
        When the bytes are a spreadsheet workbook, no text, or more than a table may have.
    """
    if len(data) > MAX_TABLE_BYTES:
        raise _too_large(name)
    if data[:4] == b"PK\x03\x04" or data[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        raise DataError(
            "D3",
            f"{name} is a spreadsheet workbook. Expected a text table. Open it in the spreadsheet program and save it "
            "as CSV.",
        )
    for encoding in _encodings(data):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            _check_size(text, name)
            return text
    raise DataError(
        "D3", f"{name} is not a text file. Expected a table. Save it as CSV, in UTF-8 if there is a choice."
    )


def _too_large(name: str) -> DataError:
    return DataError(
        "D3",
        f"{name} is too large for a table. Expected one row per image: at most {MAX_TABLE_BYTES >> 20} MiB, {MAX_LINES:,} "
        f"lines, {MAX_CELLS:,} cells and {MAX_COLUMNS:,} columns. Remove what is not about images, or divide it.",
    )


def _check_size(text: str, name: str) -> None:
    """Reject a text that would become too many lines or cells, before any are made."""
    lines = text.count("\n") + text.count("\r") - text.count("\r\n")
    if lines > MAX_LINES or lines + max(text.count(separator) for separator in SEPARATORS) > MAX_CELLS:
        raise _too_large(name)


def _encodings(data: bytes) -> tuple[str, ...]:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return ("utf-16",)
    if data[1:2] == b"\0":
        return ("utf-16-le",)
    if data[:1] == b"\0":
        return ("utf-16-be",)
    return ("utf-8-sig", "cp1252", "latin-1")


def read_table(path: Path, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> Table:
    """Read a table from a file: see `parse_table`. Also raises `DataError` when it cannot be opened or is too large."""
    name = path.name
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise _too_large(name)
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            "D1", f"{name} cannot be read ({error.strerror}). Give the user who runs this permission."
        ) from error
    return parse_table(data, name, required, optional)


def parse_table(data: bytes, name: str, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> Table:
    """Read a CSV table whose header must name some columns (in lower case); `name` is for messages.

    Raises
    ------
    DataError
        When it cannot be read as a table, lacks a required column, or has one of these columns twice.
    """
    text = decode_text(data, name)
    contract = required + optional
    # Try separators on the first lines only, and not strictly: rows that parse with one need not parse with another.
    lines = _parse(text, max(SEPARATORS, key=lambda separator: _contract_columns(text, separator, contract)), name)
    expected = ",".join(required) + (f" and, where known, {','.join(optional)}" if optional else "")
    if not lines:
        raise DataError(
            "D3", f"{name} is empty. Expected a first line with the columns {expected}, then one row per image."
        )
    header = _header(lines[0][1])
    if len(header) > MAX_COLUMNS:  # the checks below take the square of their number
        raise _too_large(name)
    missing = [column for column in required if column not in header]
    if missing:
        raise DataError(
            "D3",
            f"{name} has no column {' and no column '.join(missing)}: its first line reads "
            f"{', '.join(cell or '(blank)' for cell in header)[:300]}. Expected the columns {expected}, separated by "
            "comma, semicolon or tab. Put these names into the first line.",
        )
    twice = sorted({column for column in header if header.count(column) > 1 and column in contract})
    if twice:
        raise DataError(
            "D3", f"{name} has the column {', '.join(twice)} more than once. Keep one of each and remove the rest."
        )
    rows = tuple(_row(number, cells, header) for number, cells in lines[1:])
    return Table(name, tuple(header), rows)


def _parse(text: str, separator: str, name: str) -> list[tuple[int, list[str]]]:
    """Lines that are not empty, with their numbers, without a spreadsheet's `sep=;` line.

    Strict, because a stray quotation mark would otherwise swallow all rows up to the next one.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    lines: list[tuple[int, list[str]]] = []
    number = 1
    try:
        for cells in reader:
            first, number = number, reader.line_num + 1
            declares = first == 1 and cells and cells[0].strip().lower().startswith("sep=")
            if any(cell.strip() for cell in cells) and not declares:
                lines.append((first, cells))
    except csv.Error as error:
        raise DataError(
            "D3",
            f"{name} cannot be read as a table from row {number} on ({error}). Expected a CSV in which quotation marks "
            "come in pairs around a cell: remove stray ones and save it again.",
        ) from error
    return lines


def _header(cells: list[str]) -> list[str]:
    return [" ".join(cell.strip().lower().split()) for cell in cells]


def _contract_columns(text: str, separator: str, contract: tuple[str, ...]) -> tuple[int, int]:
    """Number of columns that the header would have with this separator: required or optional ones, and in all."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        lines = (cells for cells in itertools.islice(reader, 20) if any(cell.strip() for cell in cells))
        header = next((_header(cells) for cells in lines if not cells[0].strip().lower().startswith("sep=")), [])
    except csv.Error:  # a cell without an end
        return 0, 0
    return len(set(header) & set(contract)), len(header)


def _row(number: int, cells: list[str], header: list[str]) -> TableRow:
    padded = [cell.strip() for cell in cells] + [""] * (len(header) - len(cells))
    named = {column: cell for column, cell in zip(header, padded, strict=False) if column}
    return TableRow(number, named, any(padded[len(header) :]))
