"""Measure a folder: what is known already comes from the store, the rest is measured and put there."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from embryofl_data.reading.contract import DataFolder
from embryofl_data.reading.scan import FileInfo
from embryofl_data.report.gather import measure_files
from embryofl_data.report.measure import columns_of
from embryofl_data.report.neighbours import SEARCH_VERSION, Pair, Search, find_pairs
from embryofl_data.report.store import MeasurementStore, open_store
from embryofl_data.report.study import Measures

Progress = Callable[[str, int, int], None]
"""Called with (step, done, total)."""


@dataclass(frozen=True)
class FolderMeasures:
    """Of every file what is known, the measurements of the usable ones, and how many files had to be opened."""

    infos: dict[str, FileInfo]
    measures: Measures
    opened: int


def measure_folder(folder: DataFolder, cache_dir: Path | None, progress: Progress | None = None) -> FolderMeasures:
    """Measure every image of a folder, and compare all with each other.

    Raises
    ------
    UserError
        When `cache_dir` cannot be written.
    """
    files = [image.file for image in folder.images]
    with open_store(folder.root, cache_dir) as store:
        fresh = store.fresh(folder.root, files)
        stale = [file for file in files if file not in fresh]
        for done, measured in enumerate(measure_files(folder.root, stale), 1):
            store.put(measured)
            if progress:
                progress("measuring images", done, len(stale))
        known = [replace(store.get(file), print_=b"") for file in files]  # all prints at once need not fit in memory
        usable = [each for each in known if each.info.usable]
        tags = {each.info.file: each.tags for each in usable if each.tags}
        pairs = _compare(store, [each.info.file for each in usable], progress)
        store.forget_others(files)
    measures = Measures(columns_of([each.values for each in usable]), tags, pairs)
    return FolderMeasures({each.info.file: each.info for each in known}, measures, len(stale))


def _compare(store: MeasurementStore, usable: list[str], progress: Progress | None) -> tuple[Pair, ...]:
    def on_progress(done: int, total: int) -> None:
        if progress:
            progress("comparing images", done, total)

    digest = hashlib.sha256(SEARCH_VERSION.encode())
    for file in usable:
        digest.update(store.get(file).print_)
    key = digest.hexdigest()
    known = store.compared(key)
    if known is not None:
        return Search.from_json(known).pairs
    search = find_pairs(len(usable), lambda index: store.get(usable[index]).print, on_progress)
    store.keep_compared(key, search.to_json())
    return search.pairs
