"""Carry out a plan: copies of the images, `labels.csv`, and `import.json`, which says which rule gave each label.

Everything is written into `.importing` inside the output folder and moved at the end, the manifest last: a folder
without `import.json` is not complete, and what an interrupted import left is cleared away by the next.
"""

import csv
import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embryofl.errors import UserError
from embryofl.files import write_atomic
from embryofl_data.importers.importer import Importer
from embryofl_data.importers.plan import CHECK_SIZE, Plan, PlannedImage, SkippedFile
from embryofl_data.importers.rules import Rule
from embryofl_data.importers.source import Source
from embryofl_data.reading.contract import COLUMNS
from embryofl_data.reading.decode import DecodeError, decode_image

MANIFEST = "import.json"
STAGING = ".importing"
FORMAT = 1


@dataclass(frozen=True)
class ImportedImage:
    """An image that was written: its name in `labels.csv`, where it came from, its SHA-256, its label and why."""

    image: str
    source: str
    sha256: str
    label: int | None
    rule: str
    reason: str


def prepare(source: Path, out: Path) -> None:
    """Refuse an output folder that holds anything, or that lies in the source or around it.

    Raises
    ------
    UserError
        With what is in the way.
    """
    inner, outer = out.resolve(), source.resolve()
    if inner == outer or inner.is_relative_to(outer) or (outer.is_dir() and outer.is_relative_to(inner)):
        raise UserError(
            f"The folder {out} and the source {source} lie in one another. The source is never changed: name a folder "
            "elsewhere."
        )
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file. Expected a folder, new or empty: name another.")
    present = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if STAGING in present and MANIFEST not in present:
        for name in (*(name for name in ("images", "labels.csv") if name in present), STAGING):
            shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()
        present = sorted(path.name for path in out.iterdir())
    if present:
        raise UserError(f"The folder {out} holds {', '.join(present[:5])}. Expected a new or empty one: name another.")


def carry_out(
    source: Source, importer: Importer, plan: Plan, rule: Rule, out: Path, told: Callable[[int, int], None]
) -> tuple[list[ImportedImage], list[SkippedFile]]:
    """Write the data folder.

    Parameters
    ----------
    source : Source
        Only read.
    importer : Importer
        May convert what it reads.
    plan : Plan
        What is taken.
    rule : Rule
        Makes a label of each row's facts.
    out : Path
        Checked by `prepare`.
    told : callable
        Called with (done, total).

    Returns
    -------
    list of Taken, list of LeftOut
        What was written; what was not, of the plan and because it cannot be read.

    Raises
    ------
    UserError
        When the folder cannot be written.
    """
    staging = out / STAGING
    try:
        (staging / "images").mkdir(parents=True)
        taken, left_out = _write_images(source, importer, plan, rule, staging, told)
        if not taken:
            shutil.rmtree(staging)
            raise UserError(
                f"No image of {source.root} could be taken over ({len(left_out)} things were left out, first: "
                f"{_first(left_out)}). Look at the layout and at the options."
            )
        for name in ("images", "labels.csv"):
            (staging / name).rename(out / name)
        manifest = _manifest(source, importer, plan, rule, taken, left_out)
        write_atomic(out / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode("utf-8", "replace"))
        shutil.rmtree(staging)
    except OSError as error:
        raise UserError(
            f"The folder {out} cannot be written ({error.strerror or error}). Expected a folder on a disk with room, "
            "that the user who runs this may write to: name another."
        ) from error
    return taken, left_out


def _write_images(
    source: Source, importer: Importer, plan: Plan, rule: Rule, staging: Path, told: Callable[[int, int], None]
) -> tuple[list[ImportedImage], list[SkippedFile]]:
    taken: list[ImportedImage] = []
    left_out = list(plan.left_out)
    names: set[str] = set()
    with (staging / "labels.csv").open("w", encoding="utf-8", newline="") as handle:
        table = csv.writer(handle, lineterminator="\n")
        table.writerow(COLUMNS)
        for done, row in enumerate(plan.rows, 1):
            told(done, len(plan.rows))
            try:
                data = source.read(row.source)
                data = importer.convert(data) if importer.convert else data
                decode_image(data, CHECK_SIZE)
            except DecodeError as error:
                left_out.append(SkippedFile.of(row.source, error))
                continue
            label, reason = rule.decide(row.facts)
            name = _free_name(row.target or row.source, names)
            target = staging / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            table.writerow(_cells(name, label, row))
            taken.append(ImportedImage(name, row.source, hashlib.sha256(data).hexdigest(), label, rule.id, reason))
    return taken, left_out


def _free_name(source: str, names: set[str]) -> str:
    """A name below `images` that a table can carry: no control characters, no backslash, no spaces at the ends."""
    source = source.removeprefix("images/").removeprefix("Images/")
    parts = [re.sub(r"[\x00-\x1f\x7f\\]", "_", part).strip().lstrip(".") or "_" for part in source.split("/")]
    wanted = "images/" + "/".join(parts)
    stem, dot, suffix = wanted.rpartition(".")
    name, number = wanted, 1
    while name.lower() in names:
        number += 1
        name = f"{stem}-{number}{dot}{suffix}"
    names.add(name.lower())
    return name


def _cells(name: str, label: int | None, row: PlannedImage) -> list[str]:
    facts = row.facts
    cells = {
        "image": name,
        "label": "" if label is None else str(label),
        "patient": row.patient,
        "embryo": row.embryo,
        "day": row.day,
        "expansion": "" if facts.expansion is None else str(facts.expansion),
        "icm": facts.icm,
        "te": facts.te,
        "frame": row.frame,
        "focal_plane": row.focal_plane,
    }
    return [cells[column] for column in COLUMNS]


def _first(left_out: list[SkippedFile]) -> str:
    return f"{left_out[0].source}: {left_out[0].reason}" if left_out else "none"


def _manifest(
    source: Source, importer: Importer, plan: Plan, rule: Rule, taken: list[ImportedImage], left_out: list[SkippedFile]
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "source": str(source.root),
        "layout": {"name": importer.name, "title": importer.title},
        "rule": {"name": rule.name, "version": rule.version, "text": rule.text, "meaning": rule.meaning},
        "notes": list(plan.notes),
        "labels": dict(Counter("unlabelled" if item.label is None else str(item.label) for item in taken)),
        "unlabelled_because": dict(Counter(item.reason for item in taken if item.label is None).most_common()),
        "left_out_because": dict(Counter(item.reason for item in left_out).most_common()),
        "images": [asdict(item) for item in taken],
        "left_out": [asdict(item) for item in left_out],
    }
