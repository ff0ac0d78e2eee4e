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
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path

from PIL import Image

from embryofl.errors import UserError
from embryofl.files import sync_folder
from embryofl_data.progress import ProgressPrinter

from .folder import IMAGES, LABELS, SUMMARY, UNFINISHED, Target, check_parent, is_finished, marks
from .plan import HEADER, ClinicPlan, Settings, check_clinics, plan_clinic
from .scene import draw_picture

# Pixels drawn by one process in one go: a fraction of a second, so that a stopped job ends soon.
_CHUNK_PIXELS = 6 * 256 * 256


def generate(
    out: Path, clinics: int, settings: Settings, only: int | None, report: ProgressPrinter, workers: int | None = None
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
    targets = [Target(k, out / f"clinic-{k}") for k in range(1, clinics + 1)]
    if only is not None:
        targets = [Target(only, out)]
    with _disk_errors(out):
        if only is None:
            check_parent(out)
        todo = [target for target in targets if not is_finished(target, settings, report)]
        for target in todo:
            _write_clinic(target, settings, report, workers or _cores())
    return [target.folder for target in targets]


def _write_clinic(target: Target, settings: Settings, report: ProgressPrinter, workers: int) -> None:
    folder = target.folder
    plan = plan_clinic(target.clinic, settings)
    folder.mkdir(parents=True, exist_ok=True)
    _write_whole(folder / UNFINISHED, json.dumps(marks(target.clinic, settings)).encode())
    (folder / SUMMARY).unlink(missing_ok=True)
    (folder / IMAGES).mkdir(exist_ok=True)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(plan.rows())
    _write_whole(folder / LABELS, table.getvalue().encode())
    step = min(max(_CHUNK_PIXELS // settings.size**2, 1), 20)
    chunks = [range(i, min(i + step, settings.images)) for i in range(0, settings.images, step)]
    with report.counting(f"clinic {target.clinic}", settings.images) as advance:
        for done in _drawn(plan, folder, chunks, workers):
            advance(done)
    sync_folder(folder / IMAGES)
    _write_whole(folder / SUMMARY, (json.dumps(plan.summary(), indent=2) + "\n").encode())
    (folder / UNFINISHED).unlink()
    sync_folder(folder)
    best = plan.summary()["best_possible_auroc"]["all"]
    report.line(
        f"clinic {target.clinic}: {settings.images} images in {folder}, {plan.profile.microscope}, "
        f"{int(plan.outcome.label.sum())} viable, best possible AUROC {_told(best['drawn'])} "
        f"(expected {_told(best['expected'])})"
    )


def _told(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _drawn(plan: ClinicPlan, folder: Path, chunks: list[range], workers: int) -> Iterator[int]:
    """Draw all chunks, yielding the number of pictures as each is done."""
    pool = _pool(min(workers, len(chunks)))
    if pool is None:
        for chunk in chunks:
            yield _draw_chunk(plan, folder, chunk)
        return
    try:
        for future in as_completed([pool.submit(_draw_chunk, plan, folder, chunk) for chunk in chunks]):
            yield future.result()
    except BrokenProcessPool as error:
        raise UserError(
            "A drawing process was killed, most likely for want of memory (each needs about 150 MB). "
            "Run the same command again with a smaller --workers."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _pool(workers: int) -> ProcessPoolExecutor | None:
    """Worker processes; None for one, or where the system has no semaphores for more."""
    if workers == 1:
        return None
    try:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    except (OSError, NotImplementedError, ImportError):
        return None


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
            f"Could not write to {place}: {reason}, and run the same command again. The folder is marked unfinished "
            "and will not be taken for complete."
        ) from error
