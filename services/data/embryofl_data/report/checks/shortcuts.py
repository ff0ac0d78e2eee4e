"""How well things other than the embryo predict the label: day, camera, size, light, order of the files.

A network that can read the label from such a thing will, and then fails in the next clinic. Each group of features alone
is given to a small classifier that is evaluated on patients it has not seen.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline

from embryofl_data.report.report import Finding, Verdict, make_finding, texts
from embryofl_data.report.study import FloatArray, Study
from embryofl_data.split import join_groups

ENOUGH = 40
ENOUGH_OF_A_CLASS = 10
MOST_IMAGES = 4000
FOLDS, REPEATS, RESAMPLES = 5, 2, 400
NOTICE = 0.60
"""Lower end of the 95 % interval of an AUROC from which a group counts as a shortcut."""
WITHIN_DAYS = 0.58
"""The same within one day, from which a group counts in addition to the day."""
HOPELESS = 0.97
"""The same, from which there is little else to learn: two sources with one class each."""
DAY = "the day alone"
"""The one group that may rightly predict something of the embryo."""
LIGHT = ("brightness", "bright", "dark")
OPTICS = ("warmth", "tint", "saturation", "contrast", "vignette", "sharpness")

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Strength:
    """How well a group of features predicts the label of unseen patients: AUROC, its 95 % interval, and within days."""

    name: str
    auroc: float
    low: float
    high: float
    within_days: float | None

    def __str__(self) -> str:
        within = "" if self.within_days is None else f"; {self.within_days:.2f} within one day"
        shown = texts()["shortcuts"]["groups"][self.name][0]
        return f"{shown}, AUROC {self.auroc:.2f} ({self.low:.2f}-{self.high:.2f}{within})"


def check(study: Study) -> Iterator[Finding]:
    """One finding over all groups."""
    if not study.measures:
        return
    chosen = _chosen(study)
    if chosen is None:
        yield make_finding("shortcuts:few", least=ENOUGH, of_a_class=ENOUGH_OF_A_CLASS)
        return
    labels, days, units = study.labels[chosen], study.days[chosen], _units(study, chosen)
    strengths = [
        strength
        for name, values in groups(study, study.measures.columns).items()
        if (values[chosen] != values[chosen][0]).any()
        if (strength := measure_shortcut(name, values[chosen], labels, units, days)) is not None
    ]
    yield _finding(strengths)


def _finding(strengths: Sequence[Strength]) -> Finding:
    values = {
        each.name: {
            "auroc": round(each.auroc, 3),
            "interval": [round(each.low, 3), round(each.high, 3)],
            "within_days": None if each.within_days is None else round(each.within_days, 3),
        }
        for each in strengths
    }
    shortcuts = _shortcuts(strengths)
    if not shortcuts:
        best = max((each.auroc for each in strengths), default=0.5)
        return make_finding("shortcuts:none", values=values, best=best)
    hopeless = any(each.low >= HOPELESS and each.name != DAY for each in shortcuts)
    advice = texts()["shortcuts"]["groups"]
    return make_finding(
        "shortcuts",
        Verdict.STOP if hopeless else Verdict.LOOK,
        values=values,
        listed="; ".join(map(str, shortcuts)),
        advice=" ".join(dict.fromkeys(advice[each.name][1] for each in shortcuts)),
    )


def _shortcuts(strengths: Sequence[Strength]) -> list[Strength]:
    """The groups that predict the label, strongest first; without those that only follow the day."""
    strong = sorted((each for each in strengths if each.low >= NOTICE), key=lambda each: -each.auroc)
    by_day = any(each.name == DAY for each in strong)
    return [
        each
        for each in strong
        if not by_day or each.name == DAY or each.within_days is None or each.within_days >= WITHIN_DAYS
    ]


def groups(study: Study, columns: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """The groups of features of a folder by name, float64 (n, k) each."""
    infos = [study.infos[file] for file in study.files]
    return {
        DAY: study.days[:, None].astype(np.float64),
        "the size of the picture": np.array([[i.width, i.height, i.width / i.height] for i in infos], np.float64),
        "the size of the file": np.array([[i.size_bytes / (i.width * i.height)] for i in infos], np.float64),
        "brightness": np.stack([columns[name] for name in LIGHT], axis=1),
        "colour, contrast and sharpness": np.stack([columns[name] for name in OPTICS], axis=1),
        "the order of the files": file_order(study.files)[:, None],
    }


def file_order(files: Sequence[str]) -> FloatArray:
    """Rank of each file by its bare name in natural order, without label and folder, (n,)."""

    def key(file: str) -> list[tuple[int, str]]:
        name = re.sub(r"(?i)_label_[^_.]*", "", file.rsplit("/", 1)[-1])
        return [(int(part[:15]), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]

    rank = np.empty(len(files))
    rank[sorted(range(len(files)), key=lambda index: key(files[index]))] = np.arange(len(files))
    return rank


def _chosen(study: Study) -> IntArray | None:
    """Indices of labelled images to work with, None where there are too few."""
    labelled = np.flatnonzero(study.labels >= 0)
    classes = np.bincount(study.labels[labelled], minlength=2)
    if len(labelled) < ENOUGH or classes.min() < ENOUGH_OF_A_CLASS:
        return None
    if len(labelled) > MOST_IMAGES:
        labelled = np.sort(np.random.default_rng(0).permutation(labelled)[:MOST_IMAGES])
    return labelled


def _units(study: Study, chosen: IntArray) -> IntArray:
    """Number of the patient (else embryo, else content) of each chosen image, (m,)."""
    images = [study.images[index] for index in chosen]
    units = np.zeros(len(images), np.int64)
    for number, unit in enumerate(join_groups(images, [study.infos[image.file].sha256 for image in images])):
        units[list(unit.members)] = number
    return units


def measure_shortcut(
    name: str, values: FloatArray, labels: IntArray, units: IntArray, days: IntArray
) -> Strength | None:
    """Cross-validate a small classifier by patient.

    Parameters
    ----------
    values : numpy.ndarray
        float64 (n, k).
    labels, units, days : numpy.ndarray
        int64 (n,): 0 or 1; number of the patient; day, -1 where unknown.

    Returns
    -------
    Strength or None
        None where the classes cannot be divided over folds by patient.
    """
    folds = min(FOLDS, *(len(np.unique(units[labels == label])) for label in (0, 1)))
    if folds < 2:
        return None
    scores = np.zeros((REPEATS, len(labels)))
    blocks = np.zeros((REPEATS, len(labels)), np.int64)
    for repeat in range(REPEATS):
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=repeat)
        for fold, (train, test) in enumerate(splitter.split(values, labels, units)):
            if len(np.unique(labels[train])) < 2:
                return None
            model = make_pipeline(_Bins(), LogisticRegression(C=0.5, max_iter=300))
            model.fit(values[train], labels[train])
            scores[repeat, test] = model.decision_function(values[test])
            blocks[repeat, test] = fold
    everybody = np.arange(len(labels))
    area = _area(scores, labels, blocks, everybody)
    if area is None:
        return None
    several = len(np.unique(days)) > 1
    within_days = _area(scores, labels, blocks * 100 + days, everybody) if several else None
    return Strength(name, area, *_interval(scores, labels, blocks, units), within_days)


class _Bins:
    """One-hot bins, eight by quantiles or one a value where there are few: a classifier of any shape, not only a line."""

    def fit(self, values: FloatArray, labels: object = None) -> "_Bins":
        self.edges_ = [_edges(column) for column in values.T]
        return self

    def transform(self, values: FloatArray) -> FloatArray:
        hot = [
            np.searchsorted(edges, column)[:, None] == np.arange(len(edges) + 1)
            for edges, column in zip(self.edges_, values.T, strict=True)
        ]
        return np.concatenate(hot, axis=1).astype(np.float64)

    def fit_transform(self, values: FloatArray, labels: object = None) -> FloatArray:
        return self.fit(values).transform(values)


def _edges(column: FloatArray) -> FloatArray:
    different = np.unique(column)
    if len(different) <= 8:
        return np.asarray((different[1:] + different[:-1]) / 2)
    return np.unique(np.quantile(column, np.linspace(0, 1, 9)[1:-1]))


def _area(scores: FloatArray, labels: IntArray, blocks: IntArray, rows: IntArray) -> float | None:
    """AUROC over the pairs of images of one block (a fold, or a day in a fold), as scores of two folds do not compare.

    The Mann-Whitney statistic, ties counted half. `scores` and `blocks` are (repeats, n), `rows` (m,) indices of images,
    some of them more than once. None where no block holds both classes.
    """
    wins = pairs = 0.0
    for score, block in zip(scores, blocks, strict=True):
        for number in np.unique(block):
            members = rows[block[rows] == number]
            positive, negative = (np.sort(score[members[labels[members] == label]]) for label in (1, 0))
            below = np.searchsorted(negative, positive, "left") + np.searchsorted(negative, positive, "right")
            wins += float(below.sum()) / 2
            pairs += len(positive) * len(negative)
    return wins / pairs if pairs else None


def _interval(scores: FloatArray, labels: IntArray, blocks: IntArray, units: IntArray) -> tuple[float, float]:
    """95 % interval of the AUROC by drawing patients with replacement."""
    random = np.random.default_rng(0)
    members = np.split(np.argsort(units, kind="stable"), np.cumsum(np.bincount(units))[:-1])
    drawn = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([members[unit] for unit in random.integers(0, len(members), len(members))])
        area = _area(scores[:1], labels, blocks[:1], rows)
        if area is not None:
            drawn.append(area)
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (0.0, 1.0)
    return float(low), float(high)
