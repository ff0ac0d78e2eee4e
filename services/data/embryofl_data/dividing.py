"""Real images for several clinics: one folder divided by patient, or one folder per clinic taken as it is.

Every clinic gets byte-identical copies of its images and a `labels.csv` in the data contract. The source is only read.
Patients, embryos and files of the same content never land in two clinics, so that patients held out by one clinic were
seen by none. The result is written into `.dividing` inside the output folder, moved, and sealed by `divide.json`, which
comes last: what has no `divide.json` is not complete.
"""

import csv
import errno
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embryofl.errors import DataError, UserError
from embryofl_data.reading.contract import COLUMNS, DataFolder, EmbryoImage
from embryofl_data.reading.layouts import CLASS_FOLDERS, read_folder
from embryofl_data.split import assign, join_groups, stratum

SEAL = "divide.json"
STAGING = ".dividing"
FORMAT = 1
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True)
class Share:
    """One clinic's share: images of a folder, and the name its folder had, "" where the source was divided."""

    folder: DataFolder
    images: tuple[EmbryoImage, ...]
    name: str


def divide_folder(
    source: Path, out: Path, clinics: int, seed: int = 0, only: int | None = None, log: Callable[[str], object] = print
) -> list[Path]:
    """Write the folders of several clinics from real images.

    Parameters
    ----------
    source : Path
        Either one sub-folder per clinic, each in a layout that `read_folder` knows, taken in the natural order of their
        names; or one folder in such a layout, which is divided by patient (else embryo, else image), stratified by
        label and day.
    out : Path
        `clinic-1`, `clinic-2`, ... are written into it; created when missing.
    clinics : int
        Number of clinics, at least 1.
    seed : int (default: 0)
        The same source and seed give the same division.
    only : int, optional
        Number of the one clinic to write, straight into `out`.
    log : callable (default: print)
        Receives lines for a person.

    Returns
    -------
    list of Path
        Folders of the clinics. Nothing is written when they are there already, from the same source and settings.

    Raises
    ------
    UserError
        When `out` holds anything else, lies in the source or around it, or the disk is full.
    DataError
        When the source cannot be read, or has another number of sub-folders, or too few patients.
    """
    if clinics < 1 or (only is not None and not 1 <= only <= clinics):
        raise UserError(f"Clinic {only} of {clinics} was asked for. Expected a number from 1 to the number of clinics.")
    source, out = Path(source), Path(out)
    _keep_apart(source, out)
    shares, hashes = _shares(source, clinics, seed)
    seal = _describe(shares, hashes, clinics, seed, only)
    numbers = [only] if only is not None else list(range(1, clinics + 1))
    folders = {number: out if only is not None else out / f"clinic-{number}" for number in numbers}
    if _is_done(out, seal, log):
        return list(folders.values())
    for share in {id(share.folder): share for share in shares}.values():
        _log_problems(share, log)
    try:
        _write(out, {number: (folders[number], shares[number - 1]) for number in numbers}, seal)
    except OSError as error:
        raise _write_error(error, out, [shares[number - 1] for number in numbers]) from error
    _log_shared(shares, hashes, log)
    for number in numbers:
        counts = seal["clinics"][number - 1]
        log(f"clinic {number}{_named(shares[number - 1])}: {_counts_line(counts)}")
    return list(folders.values())


def _keep_apart(source: Path, out: Path) -> None:
    """Refuse an output folder inside the source or around it."""
    inner, outer = out.resolve(), source.resolve()
    if inner == outer or inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise UserError(
            f"The output folder {out} and the source {source} lie in one another. The source is never changed: name an "
            "output folder elsewhere."
        )


def _shares(source: Path, clinics: int, seed: int) -> tuple[list[Share], dict[tuple[int, str], str]]:
    """Shares of the clinics in order, and SHA-256 by (id of the folder, file)."""
    by_clinic = clinic_folders(source)
    if by_clinic is None:
        folder = read_folder(source)
        hashes = {(id(folder), image.file): _sha256(folder.root / image.file) for image in folder.images}
        return _divide(folder, [hashes[id(folder), image.file] for image in folder.images], clinics, seed), hashes
    if len(by_clinic) != clinics:
        names = ", ".join(folder.root.name for folder in by_clinic)
        raise DataError(
            f"{source} holds the folders of {len(by_clinic)} clinics ({names}), and {clinics} clinics were asked for. "
            f"Ask for {len(by_clinic)} clinics, or give one folder with a labels.csv to have it divided by patient."
        )
    shares = [Share(folder, folder.images, folder.root.name) for folder in by_clinic]
    hashes = {
        (id(folder), image.file): _sha256(folder.root / image.file) for folder in by_clinic for image in folder.images
    }
    return shares, hashes


def clinic_folders(source: Path) -> list[DataFolder] | None:
    """The sub-folders as clinics, or None where the source is one folder to divide."""
    if not source.is_dir():
        return None  # `read_folder` says what is wrong
    entries = [entry for entry in source.iterdir() if not entry.name.startswith(".")]
    names = {entry.name.lower() for entry in entries}
    folders = sorted((entry for entry in entries if entry.is_dir()), key=lambda path: _natural(path.name))
    classes = any({folder.name.lower() for folder in folders} & set(known) for known in CLASS_FOLDERS)
    if names & {"labels.csv", "train.csv"} or classes or len(folders) < 2:
        return None
    read: list[DataFolder] = []
    errors: list[str] = []
    for folder in folders:
        try:
            read.append(read_folder(folder))
        except DataError as error:
            errors.append(f"{folder.name}: {error}")
    if not read:
        return None
    if errors:
        raise DataError(
            f"{len(read)} of the {len(folders)} sub-folders of {source} can be read as a clinic's folder, but not "
            f"{errors[0]} Put these in order, or move what is no clinic's folder elsewhere."
        )
    return read


def _divide(folder: DataFolder, hashes: Sequence[str], clinics: int, seed: int) -> list[Share]:
    units = join_groups(folder.images, hashes)
    if len(units) < clinics:
        raise DataError(
            f"The {len(folder.images)} images in {folder.root} belong to {len(units)} patient(s), and {clinics} "
            "clinics were asked for. Each needs a patient of its own: ask for fewer clinics or add patients."
        )
    names = [str(number) for number in range(1, clinics + 1)]
    strata = [stratum(image) for image in folder.images]
    parts = assign(units, strata, dict.fromkeys(names, 1 / clinics), seed)
    return [
        Share(
            folder, tuple(folder.images[index] for index in sorted(i for unit in parts[name] for i in unit.members)), ""
        )
        for name in names
    ]


def _describe(
    shares: Sequence[Share], hashes: dict[tuple[int, str], str], clinics: int, seed: int, only: int | None
) -> dict[str, Any]:
    """What `divide.json` says: settings, counts, and a fingerprint of everything that is written."""
    fingerprint = hashlib.sha256()
    for share in shares:
        fingerprint.update(b"clinic\0")
        for image in share.images:
            line = json.dumps([*_cells(image), hashes[id(share.folder), image.file]])
            fingerprint.update(line.encode() + b"\n")
    return {
        "format": FORMAT,
        "source_layout": ", ".join(sorted({share.folder.layout for share in shares})),
        "seed": seed,
        "number_of_clinics": clinics,
        "only": only,
        "sha256": fingerprint.hexdigest(),
        "clinics": [
            {"name": share.name, **_counts(share.images), "patients": len({image.group for image in share.images})}
            for share in shares
        ],
    }


def _counts(images: Sequence[EmbryoImage]) -> dict[str, int]:
    labels = Counter(image.label for image in images)
    return {"images": len(images), "label_1": labels[1], "label_0": labels[0], "unlabelled": labels[None]}


def _counts_line(counts: dict[str, int]) -> str:
    return (
        f"{counts['images']} images of {counts['patients']} patients ({counts['label_1']} with label 1, "
        f"{counts['label_0']} with label 0, {counts['unlabelled']} unlabelled)"
    )


def _named(share: Share) -> str:
    return f" (from {share.name})" if share.name else ""


def _log_problems(share: Share, log: Callable[[str], object]) -> None:
    left_out = [problem for problem in share.folder.problems if problem.leaves_out]
    for problem in left_out[:5]:
        log(f"left out{_named(share)}: {problem.file}: {problem.detail}")
    if len(left_out) > 5:
        log(f"left out{_named(share)}: {len(left_out) - 5} more")


def _log_shared(shares: Sequence[Share], hashes: dict[tuple[int, str], str], log: Callable[[str], object]) -> None:
    """Say when folders that were taken as they are hold the same files: held-out patients are then not held out."""
    contents = [{hashes[id(share.folder), image.file] for image in share.images} for share in shares]
    holders = Counter(content for found in contents for content in found)
    shared = sum(1 for count in holders.values() if count > 1)
    if shared:
        log(f"warning: {shared} image(s) lie in more than one clinic's folder; held-out figures will flatter")


def _is_done(out: Path, seal: dict[str, Any], log: Callable[[str], object]) -> bool:
    """Whether `out` holds this very division; an interrupted one is cleared away.

    Raises
    ------
    UserError
        When it holds anything else.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file. Expected a folder, new or empty: name another.")
    try:
        found = json.loads((out / SEAL).read_text())
    except (OSError, ValueError):
        found = None
    if found == seal:
        log(f"{out} holds these images already, nothing to do")
        return True
    present = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if found is None and STAGING in present:
        _clear(out)
        present = sorted(path.name for path in out.iterdir())
    if [name for name in present if name != "lost+found"]:
        what = "another division" if found else f"{', '.join(present[:5])}"
        raise UserError(
            f"The output folder {out} holds {what}. Expected an empty folder, or the same images divided with the same "
            "seed over the same number of clinics: name another folder, or remove what is there."
        )
    return False


def _clear(out: Path) -> None:
    """Remove what an interrupted division left; the staging folder goes last, as it marks the rest as ours."""
    for path in out.iterdir():
        if re.fullmatch(r"clinic-\d+|images", path.name) and path.is_dir():
            shutil.rmtree(path)
        elif path.name in ("labels.csv", SEAL + ".tmp"):
            path.unlink()
    shutil.rmtree(out / STAGING)


def _write(out: Path, targets: dict[int, tuple[Path, Share]], seal: dict[str, Any]) -> None:
    staging = out / STAGING
    staging.mkdir(parents=True)
    try:
        for number, (_, share) in targets.items():
            _write_clinic(staging / str(number), share)
        for number, (target, _) in targets.items():
            target.mkdir(exist_ok=True)
            for path in sorted((staging / str(number)).iterdir()):
                path.rename(target / path.name)
        temporary = out / (SEAL + ".tmp")
        with temporary.open("w", encoding="utf-8") as handle:
            json.dump(seal, handle, indent=2)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(out / SEAL)
    except BaseException:
        _clear(out)
        raise
    shutil.rmtree(staging)


def _write_clinic(folder: Path, share: Share) -> None:
    """Copy one clinic's images and write its `labels.csv`."""
    folder.mkdir()
    (folder / "images").mkdir()
    prefix = "" if all(image.file.startswith("images/") for image in share.folder.images) else "images/"
    with (folder / "labels.csv").open("w", encoding="utf-8", errors="surrogateescape", newline="") as handle:
        table = csv.writer(handle, lineterminator="\n")
        table.writerow(COLUMNS)
        for image in share.images:
            target = folder / (prefix + image.file)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(share.folder.root / image.file, target)
            table.writerow([prefix + image.file, *_cells(image)[1:]])


def _cells(image: EmbryoImage) -> list[str]:
    """The row of `labels.csv`, in the order of `COLUMNS`."""
    label, day = ("" if value is None else str(value) for value in (image.label, image.day))
    grade = [image.expansion, image.icm, image.te]
    return [image.file, label, image.patient, image.embryo, day, *grade, image.frame, image.focal_plane]


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Give the user who runs this the right.") from error


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key under which clinic-2 comes before clinic-10."""
    return [(int(part), "") if part.isdigit() else (-1, part.lower()) for part in re.split(r"(\d+)", name)]


def _write_error(error: OSError, out: Path, shares: Sequence[Share]) -> UserError:
    if error.errno in NO_SPACE:
        needed = sum((share.folder.root / image.file).stat().st_size for share in shares for image in share.images)
        return UserError(
            f"No disk space left for the clinics' images in {out}: {needed / 1e6:.0f} MB are needed. Nothing partial "
            "was left. Free some space or name a folder on another disk."
        )
    return UserError(
        f"The output folder {out} cannot be written ({error.strerror or error}). Expected a folder that the user who "
        "runs this may write to: change its owner or name another."
    )
