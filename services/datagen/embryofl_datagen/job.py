"""Writes planned clinics to disk, on several cores, so that a folder that looks finished is finished."""

import contextlib
import csv
import errno
import io
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from embryofl.errors import UserError
from PIL import Image

from .plan import FORMAT, HEADER, ClinicPlan, Settings, check_clinics, parameters, plan_clinic
from .progress import Report
from .scene import draw_picture

SUMMARY, LABELS, IMAGES, UNFINISHED = "datagen.json", "labels.csv", "images", "datagen.unfinished.json"
CHUNK = 20


@dataclass(frozen=True)
class Target:
    """One clinic to be written into one folder."""

    clinic: int
    folder: Path


def generate(
    out: Path, clinics: int, settings: Settings, only: int | None, report: Report, workers: int | None = None
) -> list[Path]:
    """Write synthetic clinics; return the folders, finished earlier or now.

    Parameters
    ----------
    out : Path
        Takes `clinic-1`, `clinic-2`, ...; with `only`, takes that clinic's files themselves.
    workers : int or None
        Processes; by default one for each core, at most 8. The bytes do not depend on it.

    Raises
    ------
    UserError
        For impossible settings, for a folder that holds anything else (nothing is touched then), and when the disk is
        full or not writable.
    """
    settings.check()
    check_clinics(clinics, only)
    if only is None:
        targets = [Target(k, out / f"clinic-{k}") for k in range(1, clinics + 1)]
    else:
        targets = [Target(only, out)]
    with _disk_errors(out):
        if only is None:
            _check_parent(out)
        todo = [target for target in targets if not _is_finished(target, settings, report)]
        for target in todo:
            _write_clinic(target, settings, report, workers or _cores())
    return [target.folder for target in targets]


def _check_parent(out: Path) -> None:
    if not out.exists():
        return
    _check_is_folder(out)
    strange = sorted(p.name for p in out.iterdir() if not _is_clinic_name(p.name))
    if strange:
        raise UserError(
            f"{out} holds {_some(strange)}, but synthetic clinics are only written into an empty folder or beside "
            "others of their kind. Nothing was touched. Choose another folder."
        )


def _is_clinic_name(name: str) -> bool:
    return name.startswith("clinic-") and name[7:].isdigit()


def _check_is_folder(path: Path) -> None:
    if not path.is_dir():
        raise UserError(f"{path} is a file, but a folder is needed. Nothing was touched. Choose another name.")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _is_finished(target: Target, settings: Settings, report: Report) -> bool:
    """Whether the folder already holds this clinic; `UserError` when it holds anything else."""
    folder = target.folder
    if not folder.exists():
        return False
    _check_is_folder(folder)
    names = sorted(p.name for p in folder.iterdir() if p.name != "lost+found")
    if not names:
        return False
    wanted = {"format": FORMAT, "parameters": parameters(target.clinic, settings)}
    ours = {SUMMARY, LABELS, IMAGES}
    if SUMMARY in names and UNFINISHED not in names:
        found = _read_marks(folder / SUMMARY)
        if found != wanted:
            raise UserError(
                f"{folder} holds a clinic made with {_told(found)}, but {_told(wanted)} was asked for. Nothing was "
                "touched. Ask for the same again, remove the folder, or choose another."
            )
        missing = sorted(ours - set(names))
        if missing:
            raise UserError(
                f"{folder} holds a generated clinic without its {_some(missing)}. Nothing was touched. Remove the "
                "folder and generate again."
            )
        report.line(f"clinic {target.clinic}: {folder} is already there with the same settings, nothing to do")
        return True
    strange = sorted(set(names) - ours - {UNFINISHED, UNFINISHED + ".tmp", SUMMARY + ".tmp"})
    if UNFINISHED in names and not strange:
        found = _read_marks(folder / UNFINISHED)
        if found == wanted:
            report.line(f"clinic {target.clinic}: an earlier job was cut off in {folder}, writing it again")
            return False
        raise UserError(
            f"{folder} holds a clinic cut off while it was made with {_told(found)}, but {_told(wanted)} was asked "
            "for. Nothing was touched. Ask for the same again, remove the folder, or choose another."
        )
    raise UserError(
        f"{folder} holds {_some(strange or names)}, but a synthetic clinic is only written into an empty folder. "
        "Nothing was touched. Choose another folder."
    )


def _read_marks(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {"format": content["format"], "parameters": dict(content["parameters"])}
    except (ValueError, KeyError, TypeError):
        return {}


def _told(marks: dict[str, object]) -> str:
    values = marks.get("parameters")
    if not isinstance(values, dict):
        return "unknown settings"
    return f"format {marks['format']}, " + ", ".join(f"{name} {value}" for name, value in values.items())


def _write_clinic(target: Target, settings: Settings, report: Report, workers: int) -> None:
    folder = target.folder
    plan = plan_clinic(target.clinic, settings)
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    marks = {"format": FORMAT, "parameters": parameters(target.clinic, settings)}
    _write_whole(folder / UNFINISHED, json.dumps(marks).encode())
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(plan.rows())
    _write_whole(folder / LABELS, table.getvalue().encode())
    chunks = [range(i, min(i + CHUNK, settings.images)) for i in range(0, settings.images, CHUNK)]
    with report.counting(f"clinic {target.clinic}", settings.images) as advance:
        for done in _drawn(plan, folder, chunks, workers):
            advance(done)
    _sync(folder / IMAGES)
    _write_whole(folder / SUMMARY, (json.dumps(plan.summary(), indent=2) + "\n").encode())
    (folder / UNFINISHED).unlink()
    _sync(folder)
    best = plan.summary()["best_possible_auroc"]["all"]
    report.line(
        f"clinic {target.clinic}: {settings.images} images in {folder}, {plan.profile.microscope}, "
        f"{int(plan.outcome.label.sum())} viable, best possible AUROC {best['drawn']:.3f} (expected {best['expected']:.3f})"
    )


def _drawn(plan: ClinicPlan, folder: Path, chunks: list[range], workers: int) -> Iterator[int]:
    """Draw all chunks, yielding the number of pictures as each is done."""
    if workers == 1 or len(chunks) == 1:
        for chunk in chunks:
            yield _draw_chunk(plan, folder, chunk)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(chunks)), mp_context=context, initializer=_start_worker)
    try:
        for future in as_completed([pool.submit(_draw_chunk, plan, folder, chunk) for chunk in chunks]):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it even when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def follow() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _draw_chunk(plan: ClinicPlan, folder: Path, chunk: range) -> int:
    for index in chunk:
        pixels = draw_picture(
            plan.profile, plan.embryos[index].morphology, plan.settings.size, plan.picture_stream(index)
        )
        with (folder / plan.file(index)).open("wb") as file:
            Image.fromarray(pixels).save(file, "JPEG", quality=plan.profile.optics.jpeg_quality)
            file.flush()
    return len(chunk)


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there entirely or not at all, even after a power cut."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cores() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, 8)


@contextlib.contextmanager
def _disk_errors(out: Path) -> Iterator[None]:
    """Turn what a disk can do to us into errors for a person."""
    try:
        yield
    except OSError as error:
        place = error.filename or out
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = "there is no space left on the disk. Make room (about 20 kB for each 256-pixel image)"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            reason = "writing there is not allowed. Give this user write permission or choose another folder"
        else:
            reason = f"{error.strerror or error}. Check the disk and the folder"
        raise UserError(
            f"Could not write {place}: {reason}, and run the same command again. The folder is marked unfinished "
            "and will not be taken for complete."
        ) from error
