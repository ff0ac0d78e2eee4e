"""Saeedi et al., IEEE T-BME 2017: 249 blastocysts with outlines of ICM, TE and zona, without grades.

`Images/Blast_PCRM_<number> D<day>.BMP`; the outlines lie in `GT_ICM`, `GT_TE` and `GT_ZP` and are no pictures of embryos.
Grades are taken from a table (columns image, expansion, icm, te) where `--table` names one.
"""

import re

from embryofl_data.importers.importer import Importer
from embryofl_data.importers.plan import Options, Plan, PlannedImage, SkippedFile
from embryofl_data.importers.rules import GARDNER_RULES, Facts, parse_gardner
from embryofl_data.importers.source import Source
from embryofl_data.reading.tables import read_table

NAME = re.compile(r"(Blast_PCRM_[\w-]+?)(?:[ _]D(\d))?\.\w+", re.IGNORECASE)
OUTLINES = re.compile(r"(?i)(^|/)GT_[^/]+/|_mask\.\w+$")


def detect(source: Source) -> str:
    """Its names."""
    named = [file for file in source.images if NAME.fullmatch(file.rsplit("/", 1)[-1])]
    return f"names such as {named[0]}" if named else ""


def plan(source: Source, options: Options) -> Plan:
    """Every picture; outlines are left out."""
    left_out = list(source.left_out)
    grades = _grades(options)
    rows = []
    for file in source.images:
        name = file.rsplit("/", 1)[-1]
        match = NAME.fullmatch(name)
        if OUTLINES.search(file):
            left_out.append(SkippedFile(file, "outline, no picture of an embryo"))
        elif match is None:
            left_out.append(SkippedFile(file, "not named Blast_PCRM_NUMBER"))
        else:
            rows.append(PlannedImage(file, grades.get(name.lower(), Facts()), embryo=match[1], day=match[2] or ""))
    return Plan(tuple(rows), tuple(left_out), (str(options.table),) if options.table else ())


def _grades(options: Options) -> dict[str, Facts]:
    if not options.table:
        return {}
    rows = read_table(options.table, ("image", "expansion", "icm", "te")).rows
    return {
        row.cells["image"].rsplit("/", 1)[-1].lower(): Facts(
            *parse_gardner(row.cells["expansion"] + row.cells["icm"] + row.cells["te"])
        )
        for row in rows
    }


IMPORTER = Importer("saeedi", "Saeedi et al. 2017", (*GARDNER_RULES, "none"), "", detect, plan)
