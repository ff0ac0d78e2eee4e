"""Counts of a data folder: the part of the report from which `data_summary` makes what may leave the clinic.

Everything else here names files and may name patients: it is for the clinic alone.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from embryofl.data_statistics import DataStatistics, release
from embryofl.errors import DataError
from embryofl.metrics import SMALLEST_COUNT
from embryofl_data.dataset import split_to_train
from embryofl_data.reading.contract import PROBLEM_KINDS, DataFolder, EmbryoImage, Problem
from embryofl_data.reading.scan import FileInfo
from embryofl_data.split import SPLITS

NAMES_SHOWN = 5
SIZE_STEPS = {0: "0-127", 128: "128-255", 256: "256-511", 512: "512-1023", 1024: "1024 and more"}

Counts = dict[str, int]


@dataclass(frozen=True)
class ProblemCount:
    """Problems of one kind; `files` are the first few, `details` what is wrong with each."""

    kind: str
    meaning: str
    leaves_out: bool
    count: int
    files: list[str]
    details: list[str]


@dataclass(frozen=True)
class FolderFacts:
    """Counts of a data folder: of usable images, unless stated otherwise.

    Attributes
    ----------
    root, layout : str
        The folder, and the layout it was read in ("" where it could not be read).
    counts : dict
        Day (or `unknown`) to label (`1`, `0`, `unlabelled`) to images.
    patients, embryos, lone_images : int
        Patients; embryos of unknown patients; images with neither. Each is one unit of the split.
    cohorts : dict
        Number of images of a unit to units.
    sizes, modes : dict
        `width x height` and stored pixel format to images.
    problems : list of ProblemCount
        By kind, those that skip images first.
    split : dict
        Split to day to label to images; empty where it cannot train.
    reason : str
        Why it cannot train, "" where it can.
    statistics : DataStatistics, optional
        Image statistics; None for too few images.
    """

    root: str
    layout: str = ""
    counts: dict[str, Counts] = field(default_factory=dict)
    patients: int = 0
    embryos: int = 0
    lone_images: int = 0
    cohorts: dict[int, int] = field(default_factory=dict)
    sizes: Counts = field(default_factory=dict)
    modes: Counts = field(default_factory=dict)
    problems: list[ProblemCount] = field(default_factory=list)
    split: dict[str, dict[str, Counts]] = field(default_factory=dict)
    reason: str = ""
    statistics: DataStatistics | None = None

    @property
    def can_train(self) -> bool:
        """Whether a clinic with this folder can train."""
        return not self.reason

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON. Names files: not for sending."""
        statistics = self.statistics.model_dump() if self.statistics else None
        return {**asdict(self), "statistics": statistics, "can_train": self.can_train}


def count_folder(root: str, folder: DataFolder, infos: dict[str, FileInfo]) -> tuple[FolderFacts, dict[str, list[int]]]:
    """Count the usable part of a folder and split it as training would.

    Returns
    -------
    FolderFacts
    dict of str to list of int
        Split to indices of images, empty where it cannot train.
    """
    images = folder.images
    used = [infos[image.file] for image in images]
    facts = FolderFacts(
        root=root,
        layout=folder.layout,
        counts=by_day(images),
        patients=len({image.patient for image in images if image.patient}),
        embryos=len({image.embryo for image in images if image.embryo and not image.patient}),
        lone_images=sum(1 for image in images if not image.patient and not image.embryo),
        cohorts=dict(sorted(Counter(Counter(image.group for image in images).values()).items())),
        sizes=dict(Counter(f"{info.width}x{info.height}" for info in used).most_common()),
        modes=dict(Counter(info.mode for info in used).most_common()),
        problems=_by_kind(folder.problems),
        statistics=release([info.optics for info in used]),
    )
    try:
        splits = split_to_train(folder, [info.sha256 for info in used])
    except DataError as error:
        return replace(facts, reason=str(error)), {}
    split = {split: by_day([images[index] for index in splits[split]]) for split in SPLITS}
    return replace(facts, split=split), splits


def by_day(images: Iterable[EmbryoImage]) -> dict[str, Counts]:
    """Count images by day and label."""
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for image in images:
        label = "unlabelled" if image.label is None else str(image.label)
        counts[99 if image.day is None else image.day][label] += 1
    return {
        "unknown" if day == 99 else str(day): {label: labels[label] for label in ("1", "0", "unlabelled")}
        for day, labels in sorted(counts.items())
    }


def _by_kind(problems: Sequence[Problem]) -> list[ProblemCount]:
    kinds: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        kinds[problem.kind].append(problem)
    counts = []
    for kind, same in sorted(kinds.items(), key=lambda item: (not item[1][0].leaves_out, -len(item[1]), item[0])):
        files, details = [each.file for each in same[:NAMES_SHOWN]], [each.detail for each in same[:NAMES_SHOWN]]
        counts.append(ProblemCount(kind, PROBLEM_KINDS[kind], same[0].leaves_out, len(same), files, details))
    return counts


def data_summary(facts: FolderFacts) -> dict[str, Any]:
    """What enrolment may send about a folder: only counts, each below 5 as "<5".

    Returns
    -------
    dict
        `counts`: day to label to images. `image_sizes`: longer side in fixed steps to images. `patients`: groups of the
        split (patients, else embryos, else images). `statistics`: see `embryofl.data_statistics`; missing for too few
        images. There are no totals, from which a withheld count could be computed.
    """
    steps: Counter[str] = Counter()
    for size, count in facts.sizes.items():
        longer = max(map(int, size.split("x")))
        steps[next(name for least, name in reversed(SIZE_STEPS.items()) if longer >= least)] += count
    return {
        "counts": {
            day: {label: _released(count) for label, count in labels.items()} for day, labels in facts.counts.items()
        },
        "image_sizes": {step: _released(steps[step]) for step in SIZE_STEPS.values()},
        "patients": _released(facts.patients + facts.embryos + facts.lone_images),
        **({"statistics": facts.statistics.model_dump()} if facts.statistics else {}),
    }


def _released(count: int) -> int | str:
    return count if count >= SMALLEST_COUNT else f"<{SMALLEST_COUNT}"
