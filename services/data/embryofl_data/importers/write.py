"""Carry out a plan: copies of the images, `labels.csv`, and `import.json`, which records the rule that gave each label.

A folder without `import.json`, which comes last, is not complete.
"""

import hashlib
import re
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from embryofl.errors import UserError
from embryofl_data.importers.plan import CHECK_SIZE, Importer, Plan, PlannedImage
from embryofl_data.importers.rules import Rule
from embryofl_data.importers.source import Source
from embryofl_data.output import OutputFolder, write_labels
from embryofl_data.progress import OnProgress
from embryofl_data.reading.decode import decode_image
from embryofl_data.reading.sandbox import DecodeError

MANIFEST = "import.json"
STAGING = ".importing"
FORMAT = 1


ImportedImage = dict[str, Any]
"""What was written: name in `labels.csv`, source, SHA-256, label, rule and reason."""


def write_folder(
    source: Source, importer: Importer, plan: Plan, rule: Rule, out: Path, on_progress: OnProgress
) -> list[ImportedImage]:
    """Write the data folder with labels by the rule; damaged images are added to the plan's skipped files.

    Raises
    ------
    UserError
        When the folder is not empty or cannot be written, or no image can be read.
    """
    imported: list[ImportedImage] = []

    def write(staging: Path) -> dict[str, Any]:
        imported.extend(_write_images(source, importer, plan, rule, staging, on_progress))
        if not imported:
            first = f"{plan.skipped[0].source}: {plan.skipped[0].reason}" if plan.skipped else "none"
            raise UserError(
                "D2",
                f"No image of {source.root} could be imported ({len(plan.skipped)} files were skipped, first: {first}). "
                "Check the layout and the options.",
            )
        return _manifest(source, importer, plan, rule, imported)

    output = OutputFolder(out, "import", MANIFEST, STAGING, ("images", "labels.csv"))
    output.is_done()
    output.fill(write)
    return imported


def _write_images(
    source: Source, importer: Importer, plan: Plan, rule: Rule, staging: Path, on_progress: OnProgress
) -> list[ImportedImage]:
    """Write images and table."""
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
        origin = {"image": name, "source": image.source, "sha256": hashlib.sha256(data).hexdigest()}
        imported.append({**origin, "label": label, "rule": rule.id, "reason": reason})
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
        "labels": dict(Counter("unlabelled" if item["label"] is None else str(item["label"]) for item in imported)),
        "unlabelled_because": dict(Counter(item["reason"] for item in imported if item["label"] is None).most_common()),
        "left_out_because": dict(Counter(item.reason for item in plan.skipped).most_common()),
        "images": imported,
        "left_out": [asdict(item) for item in plan.skipped],
    }
