"""Gomez et al., Data in Brief 2022, Zenodo: time-lapse videos of 704 embryos from Nantes.

`embryo_dataset/<embryo>/D<date>_S<slide>_I<instrument>_WELL<n>_RUN<frame>.jpeg`; other focal planes in
`embryo_dataset_F-45` to `embryo_dataset_F45`; `embryo_dataset_annotations/<embryo>_phases.csv` without a header
(`phase,first frame,last frame`); `embryo_dataset_grades.csv` (`video_name,TE,ICM`, where `NA` means not graded);
`embryo_dataset_time_elapsed/<embryo>_timeElapsed.csv` (`frame_index,time` in hours). Some frames are truncated.
"""

import contextlib
import re
from collections import defaultdict

from embryofl_data.importers.frames import TimelapseFrame, check_phases, choose
from embryofl_data.importers.importer import Importer
from embryofl_data.importers.plan import Options, Plan, PlannedImage, SkippedFile
from embryofl_data.importers.rules import Facts
from embryofl_data.importers.source import Source
from embryofl_data.reading.tables import decode_text

PHASES = ("tPB2", "tPNa", "tPNf", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "t9+", "tM", "tSB", "tB", "tEB", "tHB")
FRAME = re.compile(r"(?:^|/)embryo_dataset(?:_F(-?\d+))?/([^/]+)/[^/]*RUN(\d+)\.jpe?g", re.IGNORECASE)


def detect(source: Source) -> str:
    """A folder `embryo_dataset` with frames named by run."""
    first = next((file for file in source.images if FRAME.search(file)), "")
    return f"frames such as {first}" if first else ""


def plan(source: Source, options: Options) -> Plan:
    """The chosen frames of every embryo, with its grades. What stands before the last `-` is taken for the patient."""
    check_phases(options, PHASES)
    left_out = list(source.left_out)
    grades = _grades(source)
    rows: list[PlannedImage] = []
    for embryo, frames in sorted(_frames(source, left_out).items()):
        chosen = choose(source, frames, options, PHASES, left_out)
        if not chosen:
            left_out.append(SkippedFile(embryo, "no frame as asked for by --phases, --before and --planes"))
        for frame in chosen:
            facts = grades.get(embryo, Facts())
            patient = embryo.rpartition("-")[0]
            rows.append(
                PlannedImage(frame.file, facts, patient, embryo, frame=str(frame.number), focal_plane=frame.plane)
            )
    notes = (
        f"of each embryo and focal plane {', '.join(options.planes)}: {options.pick} frame(s)"
        + (f" of {', '.join(options.phases)}" if options.phases else "")
        + (f" before {options.before}" if options.before else ""),
        "grades: " + (source.named("embryo_dataset_grades.csv") or "no embryo_dataset_grades.csv, nothing is graded"),
    )
    return Plan(tuple(rows), tuple(left_out), notes)


def _frames(source: Source, left_out: list[SkippedFile]) -> dict[str, list[TimelapseFrame]]:
    found: dict[str, list[TimelapseFrame]] = defaultdict(list)
    phases: dict[str, list[tuple[str, int, int]]] = {}
    hours: dict[str, dict[int, float]] = {}
    for file in source.images:
        match = FRAME.search(file)
        if match is None:
            left_out.append(SkippedFile(file, "no frame of embryo_dataset"))
            continue
        plane, embryo, number = match[1] or "0", match[2], int(match[3])
        if embryo not in phases:
            phases[embryo] = _phases(source, embryo, left_out)
            hours[embryo] = _hours(source, embryo)
        phase = next((name for name, first, last in phases[embryo] if first <= number <= last), "")
        found[embryo].append(TimelapseFrame(file, number, plane, phase, hours[embryo].get(number)))
    return found


def _phases(source: Source, embryo: str, left_out: list[SkippedFile]) -> list[tuple[str, int, int]]:
    table = source.named(f"{embryo}_phases.csv")
    if table is None:
        return []
    found = []
    for number, line in enumerate(decode_text(source.text_bytes(table), table).splitlines(), 1):
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) >= 3 and cells[0] in PHASES and cells[1].isdigit() and cells[2].isdigit():
            found.append((cells[0], int(cells[1]), int(cells[2])))
        elif line.strip():
            left_out.append(SkippedFile(table, "row is no phase", f"row {number}: {line[:40]!r}"))
    return found


def _hours(source: Source, embryo: str) -> dict[int, float]:
    table = source.named(f"{embryo}_timeElapsed.csv")
    if table is None:
        return {}
    rows = source.table(table, ("frame_index", "time")).rows
    found = {}
    for row in rows:
        with contextlib.suppress(ValueError):  # no number: the time of that frame is not known
            found[int(row.cells["frame_index"])] = float(row.cells["time"])
    return found


def _grades(source: Source) -> dict[str, Facts]:
    """Grades by embryo; the letters A, B and C are grades, the text NA is none."""
    table = source.named("embryo_dataset_grades.csv")
    if table is None:
        return {}
    found = {}
    for row in source.table(table, ("video_name", "te", "icm")).rows:
        te, icm = (letter if letter in ("A", "B", "C") else "" for letter in (row.cells["te"], row.cells["icm"]))
        found[row.cells["video_name"]] = Facts(icm=icm, te=te)
    return found


IMPORTER = Importer("gomez", "Gomez et al. 2022 / Zenodo", ("icm-te-b", "none"), "", detect, plan)
