"""Exports of time-lapse incubators: one folder for each well and run, frames numbered in it.

`D2013.01.28_S0717_I132_WELL7/..._RUN14.jpg`, or `<slide>/WELL7/F0/14.jpg` and the like: the folder that names a well is
the embryo, the last number of a file its frame, and a folder or mark `F-15`, `F0`, `F15` its focal plane. An export
states no labels; `--table` may name a table with the columns embryo and label.
"""

import re
from collections import defaultdict

from embryofl_data.importers.frames import TimelapseFrame, add_embryo
from embryofl_data.importers.plan import Importer, Options, Plan, bare
from embryofl_data.importers.rules import Facts
from embryofl_data.importers.source import Source
from embryofl_data.reading.layouts import LABELS

WELL = re.compile(r"(?i)(^|[_\-. /])well[_\-. ]?\d+(?=[_\-. /]|$)")
PLANE = re.compile(r"(?i)(?:^|[_\-. /])F(-?\d{1,3})(?=[_\-. /]|$)")


def detect(source: Source) -> str:
    """A folder named after a well."""
    embryo = next(filter(None, map(_embryo, source.images)), "")
    return f"the folder {embryo}" if embryo else ""


def fill(plan: Plan, source: Source, options: Options) -> None:
    """The chosen frames of every well; the slide, where a folder or name gives it, is the patient."""
    labels = {}
    for row in options.rows("embryo", "label"):
        embryo, label = row.cells["embryo"], row.cells["label"]
        if label in LABELS:
            labels[embryo] = Facts(stated=LABELS[label], stated_by=f"table row {row.number}")
        else:
            plan.skip(embryo, "label other than 1, 0 or empty", f"table row {row.number}: {label[:20]!r}")
    wells: dict[str, list[TimelapseFrame]] = defaultdict(list)
    for file in source.images:
        embryo, number = _embryo(file), _number(file)
        if not embryo or number is None:
            plan.skip(file, "not a frame in the folder of a well")
        else:
            plane = PLANE.findall(file[len(embryo) :])
            wells[embryo].append(TimelapseFrame(file, number, str(int(plane[-1])) if plane else "0"))
    for embryo, frames in sorted(wells.items()):
        facts = labels.get(embryo) or labels.get(bare(embryo)) or Facts()
        add_embryo(plan, source, options, frames, facts, WELL.sub("", embryo).strip("/_-. "), embryo)
    planes = ", ".join(options.planes)
    plan.notes.append(f"of each well and focal plane {planes}: {options.pick} frame(s); a slide is a patient")


def _embryo(file: str) -> str:
    """The path down to the folder that names a well, "" without one."""
    parts = file.split("/")[:-1]
    return next(("/".join(parts[: depth + 1]) for depth, part in enumerate(parts) if WELL.search(part)), "")


def _number(file: str) -> int | None:
    numbers = re.findall(r"\d+", PLANE.sub("", bare(file).rsplit(".", 1)[0]))
    return int(numbers[-1][:15]) if numbers else None


IMPORTER = Importer("embryoscope", "Time-lapse export, one folder per well", ("stated", "none"), detect, fill)
