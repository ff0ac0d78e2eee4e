"""Real images for several clinics: one folder divided by patient, or one folder per clinic taken as it is.

Every clinic gets byte-identical copies of its images and a `labels.csv` in the data contract. The source is only read.
Patients, embryos and files of the same content never go to two clinics, so that one clinic's test patients were seen by
no other. A folder without `divide.json`, which comes last, is not complete.
"""

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from embryofl.errors import DataError, UserError
from embryofl.files import sha256_of
from embryofl_data.output import OutputFolder, keep_apart, write_labels
from embryofl_data.reading.contract import DataFolder, EmbryoImage
from embryofl_data.reading.layouts import CLASS_FOLDERS, read_folder
from embryofl_data.split import assign, join_groups, stratum

SEAL = "divide.json"
STAGING = ".dividing"
FORMAT = 1

DEFAULT_CLINICS, MOST_CLINICS = 3, 50

Log = Callable[[str], object]


@dataclass(frozen=True)
class Share:
    """One clinic's share: images of a folder, the SHA-256 of each of its files, and the folder's name ("" if divided)."""

    folder: DataFolder
    images: tuple[EmbryoImage, ...]
    hashes: Mapping[str, str]
    name: str = ""

    @property
    def origin(self) -> str:
        """For messages."""
        return f" (from {self.name})" if self.name else ""


def divide_folder(
    source: Path, out: Path, clinics: int, seed: int = 0, only: int | None = None, log: Log = print
) -> list[Path]:
    """Write the folders of several clinics from real images.

    Parameters
    ----------
    source : Path
        Either one sub-folder per clinic, each in a layout that `read_folder` recognises, in the natural order of their
        names; or one folder in such a layout, which is divided by patient (else embryo, else image), stratified by
        label and day.
    out : Path
        `clinic-1`, `clinic-2`, ... are written into it; created when missing.
    seed : int (default: 0)
        The same source and seed give the same division.
    only : int, optional
        Number of the one clinic to write, straight into `out`.

    Returns
    -------
    list of Path
        Folders of the clinics. Nothing is written when they exist already, from the same source and settings.

    Raises
    ------
    UserError
        When `out` holds anything else, is in the source or around it, or the disk is full.
    DataError
        When the source cannot be read, or has another number of sub-folders, or too few patients.
    """
    if clinics < 1 or (only is not None and not 1 <= only <= clinics):
        raise UserError(
            "S7", f"Clinic {only} of {clinics} was requested. Expected a number from 1 to the number of clinics."
        )
    keep_apart(source, out)
    shares = _shares(source, clinics, seed)
    seal = _describe(shares, clinics, seed, only)
    folders = {number: f"clinic-{number}" for number in range(1, clinics + 1)} if only is None else {only: ""}
    names = tuple(folders.values()) if only is None else ("images", "labels.csv")
    output = OutputFolder(out, "division", SEAL, STAGING, names)
    targets = [out / name for name in folders.values()]
    if output.is_done(seal):
        log(f"{out} already holds these images; nothing to do")
        return targets
    for share in {id(share.folder): share for share in shares}.values():
        _log_problems(share, log)

    def write(staging: Path) -> dict[str, Any]:
        for number, name in folders.items():
            _write_clinic(staging / name, shares[number - 1])
        return seal

    written = [shares[number - 1] for number in folders]
    output.fill(
        write, sum((share.folder.root / image.file).stat().st_size for share in written for image in share.images)
    )
    _log_shared(shares, log)
    for number in folders:
        log(
            "clinic-{number}{origin}: {images} images of {patients} patients ({label_1} with label 1, {label_0} with label "
            "0, {unlabelled} unlabelled)".format(
                number=number, origin=shares[number - 1].origin, **seal["clinics"][number - 1]
            )
        )
    return targets


def _shares(source: Path, clinics: int, seed: int) -> list[Share]:
    """Shares of the clinics in order."""
    by_clinic = clinic_folders(source)
    if by_clinic is None:
        folder = read_folder(source)
        return _divide(folder, _hashes(folder), clinics, seed)
    if len(by_clinic) != clinics:
        names = ", ".join(folder.root.name for folder in by_clinic)
        raise DataError(
            "D5",
            f"{source} holds the folders of {len(by_clinic)} clinics ({names}), and {clinics} clinics were requested. "
            f"Ask for {len(by_clinic)} clinics, or give one folder with a labels.csv to have it divided by patient.",
        )
    return [Share(folder, folder.images, _hashes(folder), folder.root.name) for folder in by_clinic]


def clinic_folders(source: Path) -> list[DataFolder] | None:
    """The sub-folders as clinics, or None where the source is one folder to divide."""
    if not source.is_dir():
        return None  # `read_folder` reports what is wrong
    entries = [entry for entry in source.iterdir() if not entry.name.startswith(".")]
    names = {entry.name.lower() for entry in entries}
    folders = sorted((entry for entry in entries if entry.is_dir()), key=lambda path: _natural(path.name))
    classes = any({folder.name.lower() for folder in folders} & set(labels) for labels in CLASS_FOLDERS)
    if names & {"labels.csv", "train.csv"} or classes or len(folders) < 2:
        return None
    read: list[DataFolder] = []
    errors: list[str] = []
    for folder in folders:
        try:
            read.append(read_folder(folder))
        except DataError as error:
            errors.append(f"{folder.name}: {error}")
    if read and errors:
        raise DataError(
            "D5",
            f"{len(read)} of the {len(folders)} sub-folders of {source} can be read as a clinic's folder, but not "
            f"{errors[0]} Correct them, or move folders that belong to no clinic elsewhere.",
        )
    return read or None


def count_clinics(
    source: Path | None, asked: int | None, existing: int = 0, log: Log = print
) -> tuple[int, Literal["synthetic", "folders", "divided"]]:
    """How many clinics a federation on one machine has, and where their images come from.

    Parameters
    ----------
    source : Path, optional
        Their real images; None for synthetic ones.
    asked : int, optional
        The number that was asked for; without it, that of the source's sub-folders, of the existing clinics, or 3.
    existing : int (default: 0)
        Clinics that the federation already has, which it keeps.

    Raises
    ------
    UserError
        When the number is not possible, with the images in `source` or with the existing clinics.
    """
    if asked is not None and not 1 <= asked <= MOST_CLINICS:
        raise UserError("S7", f"CLINICS={asked} cannot be used. Expected a number from 1 to {MOST_CLINICS}.")
    if folders := clinic_folders(source) if source else None:
        if asked not in (None, len(folders)):
            raise UserError(
                "D5", f"{source} has sub-folders for {len(folders)} clinics, but CLINICS={asked}. Leave CLINICS out."
            )
        return len(folders), "folders"
    count = asked or existing or DEFAULT_CLINICS
    if source and existing and count > existing:
        raise UserError(
            "S11",
            f"{source} was divided over {existing} clinics. Another number needs a new federation: run make clean first.",
        )
    if count < existing:
        log(f"This federation has {existing} clinics and keeps them. To start over with {count}, run make clean first.")
    return max(count, existing), "divided" if source else "synthetic"


def _divide(folder: DataFolder, hashes: Mapping[str, str], clinics: int, seed: int) -> list[Share]:
    units = join_groups(folder.images, [hashes[image.file] for image in folder.images])
    if len(units) < clinics:
        raise DataError(
            "D5",
            f"The {len(folder.images)} images in {folder.root} belong to {len(units)} patient(s), and {clinics} "
            "clinics were requested. Expected at least one patient per clinic. Ask for fewer clinics or add patients.",
        )
    names = [str(number) for number in range(1, clinics + 1)]
    parts = assign(units, [stratum(image) for image in folder.images], dict.fromkeys(names, 1 / clinics), seed)
    members = [sorted(index for unit in parts[name] for index in unit.members) for name in names]
    return [Share(folder, tuple(folder.images[index] for index in indices), hashes) for indices in members]


def _describe(shares: Sequence[Share], clinics: int, seed: int, only: int | None) -> dict[str, Any]:
    """Content of `divide.json`: settings, counts, and a fingerprint of everything that is written."""
    fingerprint = hashlib.sha256()
    for share in shares:
        fingerprint.update(b"clinic\0")
        for image in share.images:
            fingerprint.update(json.dumps([*image.row, share.hashes[image.file]]).encode() + b"\n")
    return {
        "format": FORMAT,
        "source_layout": ", ".join(sorted({share.folder.layout for share in shares})),
        "seed": seed,
        "number_of_clinics": clinics,
        "only": only,
        "sha256": fingerprint.hexdigest(),
        "clinics": [{"name": share.name, **_counts(share.images)} for share in shares],
    }


def _counts(images: Sequence[EmbryoImage]) -> dict[str, int]:
    labels = Counter(image.label for image in images)
    return {
        "images": len(images),
        "label_1": labels[1],
        "label_0": labels[0],
        "unlabelled": labels[None],
        "patients": len({image.group for image in images}),
    }


def _log_problems(share: Share, log: Log) -> None:
    skipped = [problem for problem in share.folder.problems if problem.leaves_out]
    for problem in skipped[:5]:
        log(f"skipped{share.origin}: {problem.file}: {problem.detail}")
    if len(skipped) > 5:
        log(f"skipped{share.origin}: {len(skipped) - 5} more")


def _log_shared(shares: Sequence[Share], log: Log) -> None:
    """Warn when folders that were taken as they are hold the same files: test patients are then not unseen."""
    holders = Counter(content for share in shares for content in {share.hashes[image.file] for image in share.images})
    shared = sum(1 for count in holders.values() if count > 1)
    if shared:
        log(f"warning: {shared} image(s) are in more than one clinic's folder, so test metrics will be too good")


def _write_clinic(folder: Path, share: Share) -> None:
    """Copy one clinic's images and write its `labels.csv`."""
    (folder / "images").mkdir(parents=True)
    prefix = "" if all(image.file.startswith("images/") for image in share.folder.images) else "images/"
    for image in share.images:
        target = folder / (prefix + image.file)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(share.folder.root / image.file, target)
    write_labels(folder / "labels.csv", ([prefix + image.file, *image.row[1:]] for image in share.images))


def _hashes(folder: DataFolder) -> dict[str, str]:
    """SHA-256 of each file."""
    try:
        return {image.file: sha256_of(folder.root / image.file) for image in folder.images}
    except OSError as error:
        raise DataError(
            "D1", f"{error.filename} cannot be read ({error.strerror}). Give the user who runs this permission."
        ) from error


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key under which clinic-2 comes before clinic-10."""
    return [(int(part), "") if part.isdigit() else (-1, part.lower()) for part in re.split(r"(\d+)", name)]
