"""Saeedi et al., IEEE T-BME 2017: 249 blastocysts with outlines of ICM, TE and zona, without grades.

`Images/Blast_PCRM_<number> D<day>.BMP`; the outlines in `GT_ICM`, `GT_TE` and `GT_ZP` are not images of embryos. Grades
come from a table (columns image, expansion, icm, te) if `--table` names one.
"""

import re

from embryofl_data.importers.plan import Importer, Options, Plan, PlannedImage, bare
from embryofl_data.importers.rules import GARDNER_RULES, Facts, parse_gardner
from embryofl_data.importers.source import Source

NAME = re.compile(r"(Blast_PCRM_[\w-]+?)(?:[ _]D(\d))?\.\w+", re.IGNORECASE)
OUTLINES = re.compile(r"(?i)(^|/)GT_[^/]+/|_mask\.\w+$")


def detect(source: Source) -> str:
    """Its names."""
    first = next((file for file in source.images if NAME.fullmatch(bare(file))), "")
    return f"names such as {first}" if first else ""


def fill(plan: Plan, source: Source, options: Options) -> None:
    """Every image; outlines are skipped."""
    grades = {
        bare(row.cells["image"]).lower(): Facts(
            *parse_gardner("".join(row.cells[c] for c in ("expansion", "icm", "te")))
        )
        for row in options.rows("image", "expansion", "icm", "te")
    }
    for file in source.images:
        match = NAME.fullmatch(bare(file))
        if OUTLINES.search(file):
            plan.skip(file, "outline, not an image of an embryo")
        elif match is None:
            plan.skip(file, "not named Blast_PCRM_NUMBER")
        else:
            facts = grades.get(bare(file).lower(), Facts())
            plan.images.append(PlannedImage(file, facts, embryo=match[1], day=match[2] or ""))
    plan.notes += [str(options.table)] if options.table else []


IMPORTER = Importer("saeedi", "Saeedi et al. 2017", (*GARDNER_RULES, "none"), detect, fill)
