"""All importers, in the order in which they are tried."""

from embryofl.errors import UserError
from embryofl_data.importers import dicom, embryoscope, gomez, kromp, listed, saeedi, stork, table
from embryofl_data.importers.importer import Importer
from embryofl_data.importers.source import Source

IMPORTERS: tuple[Importer, ...] = (
    listed.HUNGVUONG,
    kromp.IMPORTER,
    gomez.IMPORTER,
    stork.IMPORTER,
    saeedi.IMPORTER,
    listed.FILE_NAMES,
    listed.CLASS_FOLDERS,
    dicom.IMPORTER,
    embryoscope.IMPORTER,
    table.IMPORTER,
)


def choose_importer(source: Source, name: str) -> tuple[Importer, str]:
    """The importer of this name, or the one that knows the layout, and what gave it away.

    Raises
    ------
    UserError
        When there is none of this name, or none knows the layout.
    """
    names = ", ".join(importer.name for importer in IMPORTERS)
    if name:
        found = next((importer for importer in IMPORTERS if importer.name == name), None)
        if found is None:
            raise UserError(f"The layout {name} was asked for. Expected one of {names}.")
        return found, "as asked for"
    for importer in IMPORTERS:
        evidence = importer.detect(source)
        if evidence:
            return importer, evidence
    raise UserError(
        f"The layout of {len(source.images)} images in {source.root} is not known. Expected one of {names}: name it with "
        "--layout, or describe a table's columns with --layout table --map image=COLUMN --map label=COLUMN."
    )
