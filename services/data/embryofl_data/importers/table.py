"""A table of any shape, with a mapping of its columns: `--map image=Filename --map label=Quality --label good=1`.

The column `grade` of the mapping holds a complete Gardner grade such as `4AB`. An unknown label counts as unlabelled.
"""

import posixpath
from collections.abc import Mapping

from embryofl.errors import UserError
from embryofl_data.importers.plan import Importer, Options, Plan, PlannedImage
from embryofl_data.importers.rules import GARDNER_RULES, OUTCOMES, Facts, parse_gardner
from embryofl_data.importers.source import Source
from embryofl_data.reading.contract import OPTIONAL_COLUMNS, REQUIRED_COLUMNS
from embryofl_data.reading.layouts import LABELS
from embryofl_data.reading.listing import Listing, locate
from embryofl_data.reading.tables import TableRow

COLUMNS = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS, "grade", *OUTCOMES)


def detect(source: Source) -> str:
    """Never: the columns have to be named with --map."""
    return ""


def fill(plan: Plan, source: Source, options: Options) -> None:
    """The images that the table names; others are skipped."""
    columns = _columns(options)
    name, rows = _rows(source, options, columns)
    listing = Listing(source.root, list(source.images), {file: file for file in source.images})
    folders = ("", posixpath.dirname(name), *sorted({posixpath.dirname(file) for file in source.images}))
    images: dict[str, PlannedImage] = {}
    contradicted = set()
    for row in rows:
        file = locate(listing, row.cells[columns["image"]], folders, f"{name} row {row.number}")
        if not isinstance(file, str):
            plan.skip(file.file, f"row of the table: {file.kind.replace('_', ' ')}", file.detail)
            continue
        image = _image(file, row.cells, columns, options)
        if images.setdefault(file, image) != image:
            contradicted.add(file)
    for file in sorted(contradicted):
        plan.skip(file, "rows of the table contradict each other")
    for file in source.images:
        if file not in images:
            plan.skip(file, "not in the table")
    plan.images = [images[file] for file in sorted(images.keys() - contradicted)]
    plan.notes.append(f"{name}: {', '.join(f'{ours} from {theirs!r}' for ours, theirs in columns.items())}")


def _columns(options: Options) -> dict[str, str]:
    unknown = sorted(options.columns.keys() - set(COLUMNS))
    if unknown or "image" not in options.columns:
        given = f"--map {unknown[0]}=..." if unknown else "No --map image=COLUMN"
        raise UserError(
            "S7",
            f"{given} was given. Expected --map NAME=COLUMN for image and, where the table has them, for "
            f"{', '.join(COLUMNS[1:])}.",
        )
    return {ours: " ".join(theirs.lower().split()) for ours, theirs in options.columns.items()}


def _rows(source: Source, options: Options, columns: Mapping[str, str]) -> tuple[str, tuple[TableRow, ...]]:
    """The table's name and rows."""
    wanted = tuple(dict.fromkeys(columns.values()))
    if options.table is not None:
        return options.table.name, options.rows(*wanted)
    tables = [file for file in source.entries if file.lower().endswith((".csv", ".tsv", ".txt"))]
    if len(tables) != 1:
        raise UserError(
            "S7", f"The source has {len(tables)} tables. Expected one. Name the right one with --table FILE."
        )
    return tables[0], source.rows(tables[0], *wanted)


def _image(file: str, cells: Mapping[str, str], columns: Mapping[str, str], options: Options) -> PlannedImage:
    def cell(ours: str) -> str:
        return cells.get(columns.get(ours, ""), "")

    expansion, icm, te = parse_gardner(cell("grade") or cell("expansion") + cell("icm") + cell("te"))
    outcomes = {name: LABELS.get(cell(name)) for name in OUTCOMES if name in columns}
    facts = Facts(expansion, icm, te, *_label(cell("label"), options.labels), outcomes)
    return PlannedImage(file, facts, cell("patient"), cell("embryo"), cell("day"), cell("frame"), cell("focal_plane"))


def _label(written: str, labels: Mapping[str, int | None]) -> tuple[int | None, str]:
    meanings = {text.lower(): label for text, label in (labels or LABELS).items()}
    if written.lower() not in meanings:
        return None, f"the label {written[:20]!r} is unknown" if written else "the source states no label"
    return meanings[written.lower()], f"the label column holds {written[:20]!r}"


IMPORTER = Importer(
    "table", "A table with a column mapping", ("stated", *GARDNER_RULES, *OUTCOMES, "none"), detect, fill
)
