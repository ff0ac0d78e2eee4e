"""Measure a folder: what is known already comes from the store, the rest is measured and put there."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from embryofl_data.reading.contract import DataFolder
from embryofl_data.reading.scan import FileInfo
from embryofl_data.report.gather import measure_files
from embryofl_data.report.measure import columns_of
from embryofl_data.report.neighbours import SEARCH_VERSION, Search, find_pairs
from embryofl_data.report.store import MeasurementStore, open_store
from embryofl_data.report.study import Measures

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, done, total)."""


@dataclass(frozen=True)
class FolderMeasures:
    """Measurements of a folder.

    Attributes
    ----------
    infos : dict of str to FileInfo
        Of every file.
    measures : Measures
        Of the usable ones, in their order.
    opened : int
        How many files had to be opened.
    """

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
                progress("looking at images", done, len(stale))
        infos: dict[str, FileInfo] = {}
        usable: list[str] = []
        rows: list[tuple[float, ...]] = []
        tags: dict[str, tuple[str, ...]] = {}
        for file in files:
            known = store.get(file)
            infos[file] = known.info
            if known.info.usable:
                usable.append(file)
                rows.append(known.values)
                if known.tags:
                    tags[file] = known.tags
        search = _compare(store, usable, progress)
        store.forget_others(files)
    return FolderMeasures(infos, Measures(columns_of(rows), tags, search.pairs, search.turned), len(stale))


def _compare(store: MeasurementStore, usable: list[str], progress: Progress | None) -> Search:
    def told(done: int, total: int) -> None:
        if progress:
            progress("comparing images", done, total)

    digest = hashlib.sha256(SEARCH_VERSION.encode())
    for file in usable:
        digest.update(store.get(file).print_)
    key = digest.hexdigest()
    known = store.compared(key)
    if known is not None:
        return Search.from_json(known)
    search = find_pairs(len(usable), lambda index: store.get(usable[index]).print, told)
    store.keep_compared(key, search.to_json())
    return search
