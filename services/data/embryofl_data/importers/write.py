"""Carry out a plan: copies of the images, `labels.csv`, and `import.json`, which says which rule gave each label.

Everything is written into `.importing` inside the output folder and moved at the end, the manifest last: a folder
without `import.json` is not complete, and the next import removes what an interrupted one left.
"""

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
from embryofl_data.importers.plan import CHECK_SIZE, Importer, Plan, PlannedImage
from embryofl_data.importers.rules import Rule
from embryofl_data.importers.source import SkippedFile, Source
from embryofl_data.output import keep_apart, names_in, not_writable, write_labels
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
    """Raise `UserError` for an output folder that is not empty, or is in the source or around it."""
    keep_apart(source, out)
    present = names_in(out)
    if STAGING in present and MANIFEST not in present:
        for name in (*(name for name in ("images", "labels.csv") if name in present), STAGING):
            shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()
        present = names_in(out)
    if present:
        raise UserError(f"The folder {out} holds {', '.join(present[:5])}. Expected a new or empty one. Name another.")


def write_folder(
    source: Source, importer: Importer, plan: Plan, rule: Rule, out: Path, on_progress: Callable[[int, int], None]
) -> tuple[list[ImportedImage], list[SkippedFile]]:
    """Write the data folder, after `prepare`, with labels by the rule.

    Returns
    -------
    list of ImportedImage, list of SkippedFile
        What was written; what was not, according to the plan or because it cannot be read.

    Raises
    ------
    UserError
        When the folder cannot be written.
    """
    staging = out / STAGING
    try:
        (staging / "images").mkdir(parents=True)
        imported = _write_images(source, importer, plan, rule, staging, on_progress)
        if not imported:
            shutil.rmtree(staging)
            first = f"{plan.skipped[0].source}: {plan.skipped[0].reason}" if plan.skipped else "none"
            raise UserError(
                f"No image of {source.root} could be imported ({len(plan.skipped)} files were skipped, first: {first}). "
                "Check the layout and the options."
            )
        for name in ("images", "labels.csv"):
            (staging / name).rename(out / name)
        manifest = _manifest(source, importer, plan, rule, imported)
        write_atomic(out / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode("utf-8", "replace"))
        shutil.rmtree(staging)
    except OSError as error:
        raise not_writable(out, error) from error
    return imported, plan.skipped


def _write_images(
    source: Source, importer: Importer, plan: Plan, rule: Rule, staging: Path, on_progress: Callable[[int, int], None]
) -> list[ImportedImage]:
    """Write images and table; damaged ones are added to the plan's skipped files."""
    imported: list[ImportedImage] = []
    rows: list[list[str]] = []
    names: set[str] = set()
    for done, image in enumerate(plan.images, 1):
        on_progress(done, len(plan.images))
        try:
            data = source.read(image.source)
            data = importer.convert(data) if importer.convert else data
            decode_image(data, CHECK_SIZE)
        except DecodeError as error:
            plan.skip_damaged(image.source, error)
            continue
        label, reason = rule.decide(image.facts)
        name = _free_name(image.target or image.source, names)
        target = staging / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        rows.append(_row(name, label, image))
        digest = hashlib.sha256(data).hexdigest()
        imported.append(ImportedImage(name, image.source, digest, label, rule.id, reason))
    write_labels(staging / "labels.csv", rows)
    return imported


def _free_name(source: str, names: set[str]) -> str:
    """A name below `images` that a table can hold: no control characters, no backslash, no spaces at the ends."""
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


def _row(name: str, label: int | None, image: PlannedImage) -> list[str]:
    """The row of `labels.csv`, in the order of `COLUMNS`."""
    facts = image.facts
    grade = (facts.expansion, facts.icm, facts.te)
    values = (name, label, image.patient, image.embryo, image.day, *grade, image.frame, image.focal_plane)
    return ["" if value is None else str(value) for value in values]


def _manifest(
    source: Source, importer: Importer, plan: Plan, rule: Rule, imported: list[ImportedImage]
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "source": str(source.root),
        "layout": {"name": importer.name, "title": importer.title},
        "rule": {"name": rule.name, "version": rule.version, "text": rule.text, "meaning": rule.meaning},
        "notes": plan.notes,
        "labels": dict(Counter("unlabelled" if item.label is None else str(item.label) for item in imported)),
        "unlabelled_because": dict(Counter(item.reason for item in imported if item.label is None).most_common()),
        "left_out_because": dict(Counter(item.reason for item in plan.skipped).most_common()),
        "images": [asdict(item) for item in imported],
        "left_out": [asdict(item) for item in plan.skipped],
    }
