"""Measure a folder: unchanged files come from the store, the others are measured and put there."""

import hashlib
import json
from functools import partial
from pathlib import Path

import numpy as np

from embryofl_data.progress import OnStep, no_progress
from embryofl_data.reading.contract import DataFolder
from embryofl_data.reading.scan import FileInfo
from embryofl_data.report.measure import MEASURES, measure_files
from embryofl_data.report.neighbours import SEARCH_VERSION, Pair, find_pairs
from embryofl_data.report.store import MeasurementStore, open_store
from embryofl_data.report.study import Measures


def measure_folder(
    folder: DataFolder, cache_dir: Path | None, progress: OnStep = no_progress
) -> tuple[dict[str, FileInfo], int, Measures]:
    """Measure every image of a folder, and compare all with each other.

    Returns
    -------
    dict of str to FileInfo, int, Measures
        Of every file; how many files had to be opened; of the usable ones.

    Raises
    ------
    UserError
        When `cache_dir` cannot be written.
    """
    files = [image.file for image in folder.images]
    with open_store(folder.root, cache_dir) as store:
        fresh = store.fresh(folder.root, files)
        changed = [file for file in files if file not in fresh]
        for done, measured in enumerate(measure_files(folder.root, changed), 1):
            store.put(measured)
            progress("measuring images", done, len(changed))
        stored = [store.get(file) for file in files]
        usable = [each for each in stored if each.info.usable]
        tags = {each.info.file: each.tags for each in usable if each.tags}
        pairs = _compare(store, [each.info.file for each in usable], progress)
        store.forget_others(files)
    table = np.array([each.values for each in usable], np.float64).reshape(-1, len(MEASURES))
    columns = dict(zip(MEASURES, table.T, strict=True))
    return {each.info.file: each.info for each in stored}, len(changed), Measures(columns, tags, pairs)


def _compare(store: MeasurementStore, usable: list[str], progress: OnStep) -> tuple[Pair, ...]:
    digest = hashlib.sha256(SEARCH_VERSION.encode())
    for file in usable:
        digest.update(store.print_of(file).data)
    key = digest.hexdigest()
    earlier = store.compared(key)
    if earlier is not None:
        return tuple(Pair(*pair) for pair in json.loads(earlier))
    pairs = find_pairs(len(usable), lambda index: store.print_of(usable[index]), partial(progress, "comparing images"))
    store.keep_compared(key, json.dumps(pairs))
    return pairs
