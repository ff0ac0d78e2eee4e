"""A table of any shape, with a mapping of its columns: `--map image=Filename --map label=Quality --label good=1`.

The column `grade` of the mapping holds a whole Gardner grade such as `4AB`. A label that is not understood is no label.
"""

import posixpath
from collections.abc import Mapping

from embryofl.errors import UserError
from embryofl_data.importers.importer import Importer
from embryofl_data.importers.plan import Options, Plan, PlannedImage, SkippedFile
from embryofl_data.importers.rules import GARDNER_RULES, OUTCOMES, Facts, parse_gardner
from embryofl_data.importers.source import Source
from embryofl_data.reading.layouts import LABELS
from embryofl_data.reading.listing import Listing, locate
from embryofl_data.reading.tables import TableRow, read_table

COLUMNS = (
    "image",
    "label",
    "patient",
    "embryo",
    "day",
    "grade",
    "expansion",
    "icm",
    "te",
    "frame",
    "focal_plane",
    *OUTCOMES,
)
YES_NO = {"1": 1, "0": 0, "1.0": 1, "0.0": 0}


def detect(source: Source) -> str:
    """Never by itself: which column means what is for a person to say."""
    return ""


def plan(source: Source, options: Options) -> Plan:
    """The images that the table names; others are left out."""
    columns = _columns(options)
    name, lines = _lines(source, options, columns)
    listing = Listing(source.root, list(source.images), {file: file for file in source.images})
    folders = ("", posixpath.dirname(name), *sorted({posixpath.dirname(file) for file in source.images}))
    rows: dict[str, PlannedImage] = {}
    left_out, contradicted = list(source.left_out), set()
    for line in lines:
        file = locate(listing, line.cells[columns["image"]], folders, f"{name} row {line.number}")
        if not isinstance(file, str):
            left_out.append(SkippedFile(file.file, "row of the table: " + file.kind.replace("_", " "), file.detail))
            continue
        row = _row(file, line.cells, columns, options)
        if file in rows and rows[file] != row:
            contradicted.add(file)
        rows.setdefault(file, row)
    left_out += [SkippedFile(file, "rows of the table contradict each other") for file in sorted(contradicted)]
    left_out += [SkippedFile(file, "not in the table") for file in source.images if file not in rows]
    kept = tuple(rows[file] for file in sorted(rows) if file not in contradicted)
    mapped = ", ".join(f"{ours} from {theirs!r}" for ours, theirs in columns.items())
    return Plan(kept, tuple(left_out), (f"{name}: {mapped}",))


def _columns(options: Options) -> dict[str, str]:
    unknown = sorted(options.columns.keys() - set(COLUMNS))
    if unknown or "image" not in options.columns:
        found = f"--map {unknown[0]}=..." if unknown else "No --map image=COLUMN"
        raise UserError(
            f"{found} was given. Expected --map NAME=COLUMN for image and, where the table has them, for "
            f"{', '.join(COLUMNS[1:])}."
        )
    return {ours: " ".join(theirs.lower().split()) for ours, theirs in options.columns.items()}


def _lines(source: Source, options: Options, columns: Mapping[str, str]) -> tuple[str, tuple[TableRow, ...]]:
    wanted = tuple(dict.fromkeys(columns.values()))
    if options.table is not None:
        return options.table.name, read_table(options.table, wanted).rows
    tables = [file for file in source.files if file.lower().endswith((".csv", ".tsv", ".txt"))]
    if len(tables) != 1:
        raise UserError(f"{len(tables)} tables were found in the source. Name the one that is meant with --table FILE.")
    return tables[0], source.table(tables[0], wanted).rows


def _row(file: str, cells: Mapping[str, str], columns: Mapping[str, str], options: Options) -> PlannedImage:
    def cell(ours: str) -> str:
        return cells.get(columns.get(ours, ""), "")

    expansion, icm, te = parse_gardner(cell("grade") or cell("expansion") + cell("icm") + cell("te"))
    label, why = _label(cell("label"), options.labels)
    facts = Facts(
        expansion, icm, te, label, why, {name: YES_NO.get(cell(name)) for name in OUTCOMES if name in columns}
    )
    return PlannedImage(file, facts, cell("patient"), cell("embryo"), cell("day"), cell("frame"), cell("focal_plane"))


def _label(written: str, labels: Mapping[str, int | None]) -> tuple[int | None, str]:
    known = labels or LABELS
    found = {text.lower(): label for text, label in known.items()}
    if written.lower() not in found:
        return None, f"the label {written[:20]!r} is not understood" if written else "the source states no label"
    return found[written.lower()], f"the label column says {written[:20]!r}"


IMPORTER = Importer(
    "table", "A table with a column mapping", ("stated", *GARDNER_RULES, *OUTCOMES, "none"), "stated", detect, plan
)
