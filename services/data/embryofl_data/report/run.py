"""Look at a data folder and write down what it is worth."""

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
from embryofl_data.report.checks import CHECKS
from embryofl_data.report.facts import FolderFacts, count_folder, usable_part
from embryofl_data.report.finding import Finding, Verdict
from embryofl_data.report.measurements import Progress, measure_folder
from embryofl_data.report.own_split import own_split
from embryofl_data.report.report import DataReport, by_gravity
from embryofl_data.report.study import Measures, Study

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
    root : Path
        The data folder, only read.
    cache_dir : Path, optional
        Measurements are kept there for the next report; without it nothing is kept.
    split_seed : int (default: 0)
        Seed of the split that is shown.
    progress : callable, optional
        Called with (what is being done, done, total).
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
    """What joining a hub needs: the same report without looking at the images closely.

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

    def told(done: int, total: int) -> None:
        if progress:
            progress("decoding", done, total)

    infos = open_cache(folder.root, [image.file for image in folder.images], cache_dir, image_size, told).infos
    return _report(_study(root, folder, infos, split_seed), len(infos), begun)


def _unreadable(root: Path, error: DataError) -> DataReport:
    facts = FolderFacts(str(root), reason=str(error))
    return DataReport(facts, (Finding("cannot-read", "The folder cannot be used", Verdict.STOP, str(error)),))


def _study(
    root: Path, folder: DataFolder, infos: dict[str, FileInfo], split_seed: int, measures: Measures | None = None
) -> Study:
    folder = usable_part(folder, infos)
    facts, sides = count_folder(str(root), folder, infos, split_seed)
    split, split_from = own_split(folder)
    return Study(folder, infos, facts, sides, split, split_from, measures)


def _report(study: Study, opened: int, begun: float) -> DataReport:
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings.extend(check(study))
        except Exception as error:  # a report with a gap is worth more than none
            log.exception("a check failed")
            findings.append(_failed(check.__module__, error))
    return DataReport(study.facts, by_gravity(findings), study.measures is not None, opened, time.monotonic() - begun)


def _failed(module: str, error: Exception) -> Finding:
    name = module.rpartition(".")[2]
    return Finding(
        f"failed-{name}",
        "A check failed",
        Verdict.LOOK,
        f"The check {name} ended with {type(error).__name__}; the rest of the report stands.",
        advice="This is a defect: please report it, without any image.",
    )
