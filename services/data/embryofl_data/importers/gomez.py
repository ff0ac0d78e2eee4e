"""Gomez et al., Data in Brief 2022, Zenodo: time-lapse videos of 704 embryos from Nantes.

`embryo_dataset/<embryo>/D<date>_S<slide>_I<instrument>_WELL<n>_RUN<frame>.jpeg`; other focal planes in
`embryo_dataset_F-45` to `embryo_dataset_F45`; `embryo_dataset_annotations/<embryo>_phases.csv` without a header
(`phase,first frame,last frame`); `embryo_dataset_grades.csv` (`video_name,TE,ICM`, where `NA` means not graded);
`embryo_dataset_time_elapsed/<embryo>_timeElapsed.csv` (`frame_index,time` in hours). Some frames are truncated.
"""

import contextlib
import re
from collections import defaultdict

from embryofl.errors import UserError
from embryofl_data.importers.frames import TimelapseFrame, add_embryo
from embryofl_data.importers.plan import Importer, Options, Plan
from embryofl_data.importers.rules import Facts
from embryofl_data.importers.source import Source
from embryofl_data.reading.tables import decode_text

PHASES = ("tPB2", "tPNa", "tPNf", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "t9+", "tM", "tSB", "tB", "tEB", "tHB")
FRAME = re.compile(r"(?:^|/)embryo_dataset(?:_F(-?\d+))?/([^/]+)/[^/]*RUN(\d+)\.jpe?g", re.IGNORECASE)
GRADES = "embryo_dataset_grades.csv"


def detect(source: Source) -> str:
    """A folder `embryo_dataset` with frames named by run."""
    first = next((file for file in source.images if FRAME.search(file)), "")
    return f"frames such as {first}" if first else ""


def fill(plan: Plan, source: Source, options: Options) -> None:
    """The chosen frames of every embryo, with its grades. The part before the last `-` is taken as the patient."""
    if unknown := [phase for phase in options.phases if phase not in PHASES]:
        raise UserError("S7", f"--phases {','.join(unknown)} was given. Expected some of {', '.join(PHASES)}.")
    grades = _grades(source)
    for embryo, frames in sorted(_frames(source, plan).items()):
        facts, patient = grades.get(embryo, Facts()), embryo.rpartition("-")[0]
        if not add_embryo(plan, source, options, frames, facts, patient, embryo, PHASES):
            plan.skip(embryo, "no frame that --phases, --before and --planes ask for")
    plan.notes += [
        f"of each embryo and focal plane {', '.join(options.planes)}: {options.pick} frame(s)"
        + (f" of {', '.join(options.phases)}" if options.phases else "")
        + (f" before {options.before}" if options.before else ""),
        f"grades: {source.named(GRADES) or f'there is no {GRADES}, so nothing is graded'}",
    ]


def _frames(source: Source, plan: Plan) -> dict[str, list[TimelapseFrame]]:
    frames: dict[str, list[TimelapseFrame]] = defaultdict(list)
    phases: dict[str, list[tuple[str, int, int]]] = {}
    hours: dict[str, dict[int, float]] = {}
    for file in source.images:
        match = FRAME.search(file)
        if match is None:
            plan.skip(file, "not a frame of embryo_dataset")
            continue
        plane, embryo, number = match[1] or "0", match[2], int(match[3])
        if embryo not in phases:
            phases[embryo] = _phases(source, embryo, plan)
            hours[embryo] = _hours(source, embryo)
        phase = next((name for name, first, last in phases[embryo] if first <= number <= last), "")
        frames[embryo].append(TimelapseFrame(file, number, plane, phase, hours[embryo].get(number)))
    return frames


def _phases(source: Source, embryo: str, plan: Plan) -> list[tuple[str, int, int]]:
    table = source.named(f"{embryo}_phases.csv")
    phases = []
    for number, line in enumerate(decode_text(source.text_bytes(table), table).splitlines() if table else (), 1):
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) >= 3 and cells[0] in PHASES and cells[1].isdigit() and cells[2].isdigit():
            phases.append((cells[0], int(cells[1]), int(cells[2])))
        elif line.strip():
            plan.skip(table or "", "row without a phase", f"row {number}: {line[:40]!r}")
    return phases


def _hours(source: Source, embryo: str) -> dict[int, float]:
    hours = {}
    for row in source.rows(source.named(f"{embryo}_timeElapsed.csv"), "frame_index", "time"):
        with contextlib.suppress(ValueError):  # not a number: the time of that frame is unknown
            hours[int(row.cells["frame_index"])] = float(row.cells["time"])
    return hours


def _grades(source: Source) -> dict[str, Facts]:
    """Grades by embryo; the letters A, B and C are grades, the text NA is not."""
    grades = {}
    for row in source.rows(source.named(GRADES), "video_name", "te", "icm"):
        te, icm = (letter if letter in ("A", "B", "C") else "" for letter in (row.cells["te"], row.cells["icm"]))
        grades[row.cells["video_name"]] = Facts(icm=icm, te=te)
    return grades


IMPORTER = Importer("gomez", "Gomez et al. 2022 / Zenodo", ("icm-te-b", "none"), detect, fill)
