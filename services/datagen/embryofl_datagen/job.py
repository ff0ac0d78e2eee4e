"""Write planned clinics to disk, on several cores."""

import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from PIL import Image

from embryofl.errors import UserError
from embryofl.files import sync_folder
from embryofl_data.output import OutputFolder, write_labels
from embryofl_data.progress import ProgressPrinter

from .plan import HEADER, ClinicPlan, Settings, marks, plan_clinic
from .scene import draw_image

SUMMARY, LABELS, IMAGES = "datagen.json", "labels.csv", "images"
STAGING = ".generating"
# Pixels drawn by one process in one go: a fraction of a second, so that a stopped job ends soon.
_CHUNK_PIXELS = 6 * 256 * 256
_BYTES_PER_PIXEL = 0.3


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
        For impossible settings, for a folder that holds anything else (nothing is written then), and when the disk is
        full or not writable.
    """
    settings.check(clinics, only)
    if only is None:
        folders = {clinic: out / f"clinic-{clinic}" for clinic in range(1, clinics + 1)}
        _check_holds_clinics(out)
    else:
        folders = {only: out}
    todo = []
    for clinic, folder in folders.items():
        output = OutputFolder(folder, "synthetic clinic", SUMMARY, STAGING, (IMAGES, LABELS))
        if output.is_done(marks(clinic, settings)):
            report.line(f"clinic-{clinic}: {folder} already exists with the same settings; nothing to do")
        else:
            todo.append((clinic, output))
    for clinic, output in todo:
        _write_clinic(plan_clinic(clinic, settings), output, report, workers or min(len(os.sched_getaffinity(0)), 8))
    return list(folders.values())


def _check_holds_clinics(out: Path) -> None:
    """Raise `UserError` when a folder for several clinics holds anything but clinics."""
    if out.exists() and not out.is_dir():
        raise UserError("D6", f"{out} is a file. Expected a folder. Nothing was written. Name another.")
    others = sorted(path.name for path in out.glob("*") if not re.fullmatch(r"clinic-\d+", path.name))
    if others:
        raise UserError(
            "D6",
            f"{out} holds {', '.join(others[:5])}. Expected an empty folder, or one with synthetic clinics. Nothing was "
            "written. Name another folder.",
        )


def _write_clinic(plan: ClinicPlan, output: OutputFolder, report: ProgressPrinter, workers: int) -> None:
    settings, summary = plan.settings, plan.summary()

    def write(staging: Path) -> dict[str, Any]:
        (staging / IMAGES).mkdir()
        write_labels(staging / LABELS, plan.rows(), HEADER)
        step = min(max(_CHUNK_PIXELS // settings.size**2, 1), 20)
        chunks = [range(i, min(i + step, settings.images)) for i in range(0, settings.images, step)]
        with report.counting(f"clinic-{plan.clinic}", settings.images) as advance:
            for images in _drawn(plan, staging, chunks, workers):
                advance(images)
        sync_folder(staging / IMAGES)
        return summary

    output.fill(write, round(settings.images * settings.size**2 * _BYTES_PER_PIXEL))
    viable, best = summary["embryos"]["viable"], summary["best_possible_auroc"]["all"]["drawn"]
    report.line(
        f"clinic-{plan.clinic}: {settings.images} images ({plan.profile.microscope}), {viable} viable; "
        f"best possible AUROC {'unknown' if best is None else f'{best:.3f}'}"
    )


def _drawn(plan: ClinicPlan, folder: Path, chunks: list[range], workers: int) -> Iterator[int]:
    """Draw all chunks, yielding the number of images as each is done."""
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
            "S5",
            "A drawing process was killed, most likely because memory ran out (each needs about 150 MB). Run the same "
            "command again with a smaller --workers.",
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
        morphology, random = plan.embryos[index].morphology, plan.image_stream(index)
        image = Image.fromarray(draw_image(plan.profile, morphology, plan.settings.size, random))
        image.save(folder / plan.file(index), "JPEG", quality=plan.profile.optics.jpeg_quality)
    return len(chunk)
