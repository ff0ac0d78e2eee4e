"""The data check: inspect a folder and make its report."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from embryofl.data_statistics import DataStatistics
from embryofl.errors import DataError
from embryofl_data.cache import open_cache
from embryofl_data.dataset import usable_part
from embryofl_data.progress import OnStep, no_progress
from embryofl_data.reading.contract import DataFolder
from embryofl_data.reading.layouts import read_folder
from embryofl_data.reading.scan import FileInfo
from embryofl_data.report.checks import (
    classes,
    drift,
    duplicates,
    leakage,
    optics,
    privacy,
    problems,
    quality,
    shortcuts,
)
from embryofl_data.report.facts import FolderFacts, count_folder
from embryofl_data.report.measurements import measure_folder
from embryofl_data.report.own_split import own_split
from embryofl_data.report.report import GRAVITY, DataReport, Finding, Verdict, make_finding
from embryofl_data.report.study import Measures, Study

CHECKS = (classes, leakage, problems, duplicates, shortcuts, privacy, quality, optics, drift)
"""In the order in which their findings are shown, within a verdict."""
Inspect = Callable[[DataFolder], tuple[dict[str, FileInfo], int, Measures | None]]
"""Inspects the images: information on every file, how many were opened, and measurements where they were made."""
log = logging.getLogger("embryofl.report")


def check_folder(
    root: Path, cache_dir: Path | None = None, progress: OnStep = no_progress, others: DataStatistics | None = None
) -> DataReport:
    """The full report: every image is read, decoded and measured, unless it is unchanged since the last report.

    Parameters
    ----------
    cache_dir : Path, optional
        Measurements are kept there for the next report; without it nothing is kept.
    progress : callable, optional
        Called with (step, done, total).
    others : DataStatistics, optional
        Of the federation's other clinics, to compare with.

    Raises
    ------
    UserError
        When `cache_dir` cannot be written. A folder that cannot be read has a report that says why.
    """
    return _report(root, lambda folder: measure_folder(folder, cache_dir, progress), others)


def check_to_join(root: Path, cache_dir: Path, image_size: int) -> DataReport:
    """What joining a hub needs: the same report without measuring the images.

    Decoded images are kept in `cache_dir` for training with `image_size`, so that nothing is decoded twice.

    Raises
    ------
    UserError
        When `cache_dir` cannot be written.
    """

    def decode(folder: DataFolder) -> tuple[dict[str, FileInfo], int, None]:
        files = [image.file for image in folder.images]
        infos = open_cache(folder.root, files, cache_dir, image_size).infos
        return infos, len(infos), None

    return _report(root, decode)


def _report(root: Path, inspect: Inspect, others: DataStatistics | None = None) -> DataReport:
    begun = time.monotonic()
    try:
        folder = read_folder(root)
    except DataError as error:
        finding = make_finding("cannot-read", Verdict.STOP, reason=str(error))
        return DataReport(FolderFacts(str(root), reason=str(error)), (finding,))
    infos, opened, measures = inspect(folder)
    folder = usable_part(folder, infos)
    facts, splits = count_folder(str(root), folder, infos)
    study = Study(folder, infos, facts, splits, *own_split(folder), measures, others)
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings.extend(check.check(study))
        except Exception as error:  # a report with a gap is worth more than none
            log.exception("a check failed")
            name = check.__name__.rpartition(".")[2]
            finding = make_finding("failed", check=name, error=type(error).__name__)
            findings.append(replace(finding, id=f"failed-{name}"))
    ordered = tuple(sorted(findings, key=lambda finding: -GRAVITY.index(finding.verdict)))
    return DataReport(study.facts, ordered, study.measures is not None, opened, time.monotonic() - begun)
