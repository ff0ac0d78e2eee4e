"""Exports of time-lapse incubators: one folder for each well and run, frames numbered in it.

`D2013.01.28_S0717_I132_WELL7/..._RUN14.jpg`, or `<slide>/WELL7/F0/14.jpg` and the like: the folder that names a well is
the embryo, the last number of a file its frame, and a folder or mark `F-15`, `F0`, `F15` its focal plane. An export
states no labels; `--table` may name a table with the columns embryo and label.
"""

import re
from collections import defaultdict

from embryofl_data.importers.frames import TimelapseFrame, choose
from embryofl_data.importers.importer import Importer
from embryofl_data.importers.plan import Options, Plan, PlannedImage, SkippedFile
from embryofl_data.importers.rules import Facts
from embryofl_data.importers.source import Source
from embryofl_data.reading.layouts import LABELS
from embryofl_data.reading.tables import read_table

WELL = re.compile(r"(?i)(^|[_\-. /])well[_\-. ]?\d+(?=[_\-. /]|$)")
PLANE = re.compile(r"(?i)(?:^|[_\-. /])F(-?\d{1,3})(?=[_\-. /]|$)")


def detect(source: Source) -> str:
    """A folder named after a well."""
    first = next((file for file in source.images if _embryo(file)), "")
    return f"the folder {_embryo(first)}" if first else ""


def plan(source: Source, options: Options) -> Plan:
    """The chosen frames of every well; the slide, where a folder or name tells it, is the patient."""
    left_out = list(source.left_out)
    labels = _labels(options, left_out)
    wells: dict[str, list[TimelapseFrame]] = defaultdict(list)
    for file in source.images:
        embryo, number = _embryo(file), _number(file)
        if not embryo or number is None:
            left_out.append(SkippedFile(file, "no frame in the folder of a well"))
        else:
            plane = PLANE.findall(file[len(embryo) :])
            wells[embryo].append(TimelapseFrame(file, number, str(int(plane[-1])) if plane else "0"))
    rows = []
    for embryo, frames in sorted(wells.items()):
        for frame in choose(source, frames, options, (), left_out):
            facts = labels.get(embryo) or labels.get(embryo.rsplit("/", 1)[-1]) or Facts()
            patient = WELL.sub("", embryo).strip("/_-. ")
            rows.append(
                PlannedImage(frame.file, facts, patient, embryo, frame=str(frame.number), focal_plane=frame.plane)
            )
    notes = (
        f"of each well and focal plane {', '.join(options.planes)}: {options.pick} frame(s); a slide is a patient",
    )
    return Plan(tuple(rows), tuple(left_out), notes)


def _embryo(file: str) -> str:
    """The path down to the folder that names a well, "" without one."""
    parts = file.split("/")[:-1]
    return next(("/".join(parts[: depth + 1]) for depth, part in enumerate(parts) if WELL.search(part)), "")


def _number(file: str) -> int | None:
    numbers = re.findall(r"\d+", PLANE.sub("", file.rsplit("/", 1)[-1].rsplit(".", 1)[0]))
    return int(numbers[-1][:15]) if numbers else None


def _labels(options: Options, left_out: list[SkippedFile]) -> dict[str, Facts]:
    found = {}
    for row in read_table(options.table, ("embryo", "label")).rows if options.table else ():
        label = row.cells["label"]
        if label in LABELS:
            found[row.cells["embryo"]] = Facts(stated=LABELS[label], stated_by=f"table row {row.number}")
        else:
            detail = f"table row {row.number}: {label[:20]!r}"
            left_out.append(SkippedFile(row.cells["embryo"], "label other than 1, 0 or empty", detail))
    return found


IMPORTER = Importer("embryoscope", "Time-lapse export, a folder a well", ("stated", "none"), "stated", detect, plan)
