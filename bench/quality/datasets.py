"""The data sets of the table: real embryos of one day over three clinics, and five synthetic clinics.

A data set is a folder with one folder per clinic, in the data contract. Each clinic's patients are divided into three
parts; in fold k, part k are the test patients and the others are for training (four fifths) and validation.
"""

import csv
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from embryofl_data.cache import open_cache
from embryofl_data.dataset import ClinicData, image_examples
from embryofl_data.reading.contract import COLUMNS, EmbryoImage
from embryofl_data.reading.layouts import read_folder
from embryofl_data.split import assign, join_groups, stratum

FOLDS = 3
VALIDATION = 0.2
REAL_SHARES = (0.5, 0.3, 0.2)  # of the patients
SYNTHETIC = ((300, 0.45), (240, 0.20), (180, 0.60), (120, 0.30), (90, 0.50))  # embryos and prevalence of each clinic
SYNTHETIC_SEED, SYNTHETIC_SIDE, BEST_AUC = 11, 192, 0.90
TUNING_SEEDS = {"synthetic-21": 21, "synthetic-22": 22}  # other embryos and microscopes: see tune.py
NINE, NINE_SHARES = "nine", (1 / 9,) * 9  # for `masks.py`: day 5 over nine clinics
DONE = "prepared.json"


def names() -> list[str]:
    """The data sets, cheapest first."""
    return ["day5", "day3", "synthetic"]


def clinics(root: Path) -> dict[str, Path]:
    """The clinics' folders of a prepared data set."""
    return {p.name: p for p in sorted(root.glob("clinic-*"))}


def prepare(name: str, root: Path, real: Path, workers: int) -> None:
    """Write a data set into `root`, unless it is complete."""
    if (root / DONE).exists():
        return
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    if name == NINE:
        _real(root, real, 5, NINE_SHARES)
    elif name.startswith("synthetic"):
        _synthetic(root, TUNING_SEEDS.get(name, SYNTHETIC_SEED), workers)
    else:
        _real(root, real, int(name[-1]), REAL_SHARES)
    counts = {}
    for clinic, folder in clinics(root).items():
        images = read_folder(folder).images
        counts[clinic] = {
            "embryos": len(images),
            "good": sum(i.label == 1 for i in images),
            "patients": len({i.group for i in images}),
        }
    (root / DONE).write_text(json.dumps(counts, indent=1))


def _real(root: Path, source: Path, day: int, parts: Sequence[float]) -> None:
    """One day of the Hung Vuong images over clinics by shares of the patients; duplicates of an embryo stay together."""
    folder = read_folder(source)
    images = [i for i in folder.images if i.label is not None and i.day == day]
    shares = {str(k): share for k, share in enumerate(parts, 1)}
    for number, units in assign(join_groups(images), [stratum(i) for i in images], shares, 0).items():
        members = [images[index] for unit in units for index in unit.members]
        _write(root / f"clinic-{number}", folder.root, sorted(members, key=lambda i: i.file))


def _synthetic(root: Path, seed: int, workers: int) -> None:
    """Five microscopes of embryofl-datagen, thinned to the prevalence of each clinic."""
    from embryofl_data.progress import ProgressPrinter
    from embryofl_datagen.job import generate
    from embryofl_datagen.plan import Settings

    for number, (count, prevalence) in enumerate(SYNTHETIC, 1):
        drawn = root / f"drawn-{number}"
        settings = Settings(count * 2, SYNTHETIC_SIDE, seed, BEST_AUC)
        generate(drawn, len(SYNTHETIC), settings, number, ProgressPrinter(), workers)
        images, left = read_folder(drawn).images, {1: round(count * prevalence), 0: count - round(count * prevalence)}
        kept = []
        for index in np.random.default_rng(number).permutation(len(images)):
            image = images[index]
            if image.label is not None and left[image.label] > 0:
                left[image.label] -= 1
                kept.append(image)
        if any(left.values()):
            raise SystemExit(f"clinic {number}: too few embryos were drawn for its prevalence: {left} are missing")
        _write(root / f"clinic-{number}", drawn, sorted(kept, key=lambda i: i.file))
        shutil.rmtree(drawn)


def _write(folder: Path, source: Path, images: Sequence[EmbryoImage]) -> None:
    folder.mkdir()
    with (folder / "labels.csv").open("w", newline="") as handle:
        table = csv.DictWriter(handle, COLUMNS, extrasaction="ignore")
        table.writeheader()
        for image in images:
            target = folder / "images" / Path(image.file).name
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(source / image.file, target)
            row = {c: getattr(image, c, "") for c in COLUMNS} | {"image": f"images/{target.name}"}
            table.writerow({c: "" if value is None else value for c, value in row.items()})


def load(folder: Path, cache: Path, side: int, fold: int, inner: int | None = None) -> ClinicData:
    """A clinic's examples; the test patients are those of one fold.

    With `inner`, that fold is left out entirely and a third of the other patients are the test patients, so that settings
    can be chosen without the patients of the tables.
    """
    contents = read_folder(folder)
    decoded = open_cache(folder, [i.file for i in contents.images], cache, side)
    images = [i for i in contents.images if i.file in decoded.rows]
    links = [decoded.infos[i.file].sha256 for i in images]
    units, strata = join_groups(images, links), [stratum(i) for i in images]
    parts = assign(units, strata, {str(k): 1 / FOLDS for k in range(FOLDS)}, 0)
    rest = [u for part, members in parts.items() if part != str(fold) for u in members]
    held_out = parts[str(fold)]
    if inner is not None:
        parts = assign(rest, strata, {str(k): 1 / FOLDS for k in range(FOLDS)}, 100 + fold)
        held_out = parts[str(inner)]
        rest = [u for part, members in parts.items() if part != str(inner) for u in members]
    splits = assign(rest, strata, {"train": 1 - VALIDATION, "validation": VALIDATION}, fold)
    splits["test"] = held_out
    examples = {
        split: image_examples(decoded, [images[i] for i in sorted(i for u in units for i in u.members)])
        for split, units in splits.items()
    }
    return ClinicData(replace(contents, images=tuple(images)), side, **examples)
