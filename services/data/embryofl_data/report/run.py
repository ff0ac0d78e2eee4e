"""The data check: look at a folder and report what is found."""

import logging
import time
from dataclasses import replace
from pathlib import Path

from embryofl.data_statistics import DataStatistics
from embryofl.errors import DataError
from embryofl_data.cache import open_cache
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
from embryofl_data.report.facts import FolderFacts, count_folder, usable_part
from embryofl_data.report.measurements import Progress, measure_folder
from embryofl_data.report.own_split import own_split
from embryofl_data.report.report import GRAVITY, DataReport, Finding, Verdict, make_finding
from embryofl_data.report.study import Measures, Study

CHECKS = (classes, leakage, problems, duplicates, shortcuts, privacy, quality, optics, drift)
"""In the order in which their findings are shown, within a verdict."""
log = logging.getLogger("embryofl.report")


def check_folder(
    root: Path,
    cache_dir: Path | None = None,
    split_seed: int = 0,
    progress: Progress | None = None,
    others: DataStatistics | None = None,
) -> DataReport:
    """The full report: every image is read, decoded and measured, unless it is unchanged since the last report.

    Parameters
    ----------
    cache_dir : Path, optional
        Measurements are kept there for the next report; without it nothing is kept.
    split_seed : int (default: 0)
        Seed of the split that is shown.
    progress : callable, optional
        Called with (step, done, total).
    others : DataStatistics, optional
        Of the federation's other clinics, to compare with.

    Raises
    ------
    UserError
        When `cache_dir` cannot be written. A folder that cannot be read has a report that says why.
    """
    begun = time.monotonic()
    try:
        folder = read_folder(root)
    except DataError as error:
        return _unreadable(root, error)
    measured = measure_folder(folder, cache_dir, progress)
    study = replace(_study(root, folder, measured.infos, split_seed, measured.measures), others=others)
    return _report(study, measured.opened, begun)


def check_to_join(
    root: Path, cache_dir: Path, image_size: int, split_seed: int = 0, progress: Progress | None = None
) -> DataReport:
    """What joining a hub needs: the same report without measuring the images.

    Decoded images are kept in `cache_dir` for training with `image_size`, so that nothing is decoded twice.

    Raises
    ------
    UserError
        When `cache_dir` cannot be written.
    """
    begun = time.monotonic()
    try:
        folder = read_folder(root)
    except DataError as error:
        return _unreadable(root, error)

    def on_progress(done: int, total: int) -> None:
        if progress:
            progress("decoding", done, total)

    infos = open_cache(folder.root, [image.file for image in folder.images], cache_dir, image_size, on_progress).infos
    return _report(_study(root, folder, infos, split_seed), len(infos), begun)


def _unreadable(root: Path, error: DataError) -> DataReport:
    finding = make_finding("cannot-read", Verdict.STOP, reason=str(error))
    return DataReport(FolderFacts(str(root), reason=str(error)), (finding,))


def _study(
    root: Path, folder: DataFolder, infos: dict[str, FileInfo], split_seed: int, measures: Measures | None = None
) -> Study:
    folder = usable_part(folder, infos)
    facts, sides = count_folder(str(root), folder, infos, split_seed)
    return Study(folder, infos, facts, sides, *own_split(folder), measures)


def _report(study: Study, opened: int, begun: float) -> DataReport:
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
