"""How well things that are not the embryo predict the label: day, camera, size, light, order of the files.

A network that can tell the label from such a thing will, and fails in the next clinic. Each group of features alone is
given to a small classifier that is judged on patients it has not seen.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embryofl_data.report.finding import Finding, Verdict
from embryofl_data.report.study import FloatArray, Study
from embryofl_data.split import join_groups

ENOUGH = 40
ENOUGH_OF_A_CLASS = 10
MOST_IMAGES = 4000
FOLDS, REPEATS, RESAMPLES = 5, 2, 400
NOTICE = 0.60
"""Lower end of the 95 % interval of an AUROC from which a group counts as a shortcut."""
WITHIN_DAYS = 0.58
"""Within one day, from which a group counts beside the day."""
HOPELESS = 0.97
"""The same, from which there is little else to learn: two sources with one class each."""
OPTICS = ("warmth", "tint", "saturation", "contrast", "vignette", "sharpness")


@dataclass(frozen=True)
class Group:
    """Features that may give the label away.

    Attributes
    ----------
    name : str
        In a sentence: `The day alone ...`.
    values : numpy.ndarray
        float64 (n, k).
    of_the_embryo : bool
        Whether it may rightly tell something: the day does, the size of the file does not.
    advice : str
        What to do.
    """

    name: str
    values: FloatArray
    of_the_embryo: bool
    advice: str


@dataclass(frozen=True)
class Strength:
    """How well a group predicts the label of unseen patients: AUROC and its 95 % interval, over all and within days."""

    name: str
    auroc: float
    low: float
    high: float
    within_days: float | None


def check(study: Study) -> Iterator[Finding]:
    """One finding over all groups."""
    chosen = _chosen(study)
    if not study.measures:
        return
    if chosen is None:
        text = f"Too few labelled images to tell: {ENOUGH} are needed, {ENOUGH_OF_A_CLASS} of each class."
        yield Finding("shortcuts", "Shortcuts", Verdict.OK, text)
        return
    labels, days = study.labels[chosen], study.days[chosen]
    units = _units(study, chosen)
    found = []
    for group in groups(study):
        values = group.values[chosen]
        if (values == values[0]).all():
            continue
        strength = measure_shortcut(group.name, values, labels, units, days)
        if strength is not None:
            found.append((group, strength))
    yield _finding(found)


def _finding(found: Sequence[tuple[Group, Strength]]) -> Finding:
    shortcuts = _shortcuts(found)
    values = {
        strength.name: {
            "auroc": round(strength.auroc, 3),
            "interval": [round(strength.low, 3), round(strength.high, 3)],
            "within_days": None if strength.within_days is None else round(strength.within_days, 3),
        }
        for _, strength in found
    }
    if not shortcuts:
        best = max((strength.auroc for _, strength in found), default=0.5)
        text = f"Neither day, camera, size, light nor file order predict the label well (AUROC at most {best:.2f})."
        return Finding("shortcuts", "Shortcuts", Verdict.OK, text, values=values)
    hopeless = any(strength.low >= HOPELESS and not group.of_the_embryo for group, strength in shortcuts)
    return Finding(
        "shortcuts",
        "Shortcuts to the label",
        Verdict.STOP if hopeless else Verdict.LOOK,
        "Without looking at the embryo, the label of unseen patients is predicted by: "
        + "; ".join(_told(strength) for _, strength in shortcuts)
        + ".",
        "An AUROC near 0.5 for all of these; a model's figure is worth what it has above them.",
        " ".join(dict.fromkeys(group.advice for group, _ in shortcuts)),
        values=values,
    )


def _shortcuts(found: Sequence[tuple[Group, Strength]]) -> list[tuple[Group, Strength]]:
    """The groups that predict the label, strongest first; those that only follow the day are left to the day."""
    strong = sorted((pair for pair in found if pair[1].low >= NOTICE), key=lambda pair: -pair[1].auroc)
    if not any(group.of_the_embryo for group, _ in strong):
        return strong
    return [
        (group, strength)
        for group, strength in strong
        if group.of_the_embryo or strength.within_days is None or strength.within_days >= WITHIN_DAYS
    ]


def _told(strength: Strength) -> str:
    within = "" if strength.within_days is None else f"; {strength.within_days:.2f} within one day"
    return f"{strength.name}, AUROC {strength.auroc:.2f} ({strength.low:.2f}-{strength.high:.2f}{within})"


def groups(study: Study) -> list[Group]:
    """The groups of features of a folder; values of all images, (n, k)."""
    assert study.measures is not None
    columns = study.measures.columns
    infos = [study.infos[file] for file in study.files]
    shape = np.array([[info.width, info.height, info.width / info.height] for info in infos], np.float64)
    weight = np.array([[info.size_bytes / (info.width * info.height)] for info in infos], np.float64)
    other = "Take one export for all pictures, or compare clinics only where this is alike in both classes."
    return [
        Group(
            "the day alone",
            study.days[:, None].astype(np.float64),
            True,
            "Judge every day by itself: a figure over all days mostly measures the day.",
        ),
        Group("the size of the picture", shape, False, other),
        Group("the size of the file", weight, False, other),
        Group(
            "brightness",
            np.stack([columns[name] for name in ("brightness", "bright", "dark")], axis=1),
            False,
            "Let training vary brightness and contrast (it does so by default), and test on another clinic.",
        ),
        Group("colour, contrast and sharpness", np.stack([columns[name] for name in OPTICS], axis=1), False, other),
        Group(
            "the order of the files",
            file_order(study.files)[:, None],
            False,
            "Files were numbered by class or over time: shuffling them changes nothing, but find out what changed.",
        ),
    ]


def file_order(files: Sequence[str]) -> FloatArray:
    """Rank of each file by its bare name in natural order, label and folder left out, (n,)."""

    def key(file: str) -> list[tuple[int, int, str]]:
        name = re.sub(r"(?i)_label_[^_.]*", "", file.rsplit("/", 1)[-1])
        parts = re.split(r"(\d+)", name)
        return [(int(part[:15]), 0, "") if part.isdigit() else (-1, 0, part) for part in parts]

    order = sorted(range(len(files)), key=lambda index: key(files[index]))
    rank = np.empty(len(files))
    rank[order] = np.arange(len(files))
    return rank


def _chosen(study: Study) -> npt.NDArray[np.int64] | None:
    """Indices of labelled images to work with, None where there are too few."""
    labelled = np.flatnonzero(study.labels >= 0)
    classes = np.bincount(study.labels[labelled], minlength=2)
    if len(labelled) < ENOUGH or classes.min() < ENOUGH_OF_A_CLASS:
        return None
    if len(labelled) > MOST_IMAGES:
        labelled = np.sort(np.random.default_rng(0).permutation(labelled)[:MOST_IMAGES])
    return labelled


def _units(study: Study, chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Number of the patient (else embryo, else content) of each chosen image, (m,)."""
    images = [study.images[index] for index in chosen]
    links = [study.infos[image.file].sha256 for image in images]
    units = np.zeros(len(images), np.int64)
    for number, unit in enumerate(join_groups(images, links)):
        units[list(unit.members)] = number
    return units


def measure_shortcut(
    name: str,
    values: FloatArray,
    labels: npt.NDArray[np.int64],
    units: npt.NDArray[np.int64],
    days: npt.NDArray[np.int64],
) -> Strength | None:
    """Cross-validate a small classifier by patient.

    Parameters
    ----------
    name : str
        Of the group.
    values : numpy.ndarray
        float64 (n, k).
    labels, units, days : numpy.ndarray
        int64 (n,): 0 or 1; number of the patient; day, -1 where unknown.

    Returns
    -------
    Strength or None
        None where the classes cannot be divided over folds by patient.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline

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
    whole = _area(scores, labels, blocks, everybody)
    if whole is None:
        return None
    low, high = _interval(scores, labels, blocks, units)
    by_day = blocks * 100 + days
    several = len(np.unique(days)) > 1
    return Strength(name, whole, low, high, _area(scores, labels, by_day, everybody) if several else None)


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


def auroc(scores: FloatArray, labels: npt.NDArray[np.int64]) -> float:
    """Mann-Whitney statistic, ties counted half; 0.5 where a class is missing."""
    positive, negative = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    if not len(positive) or not len(negative):
        return 0.5
    below = np.searchsorted(negative, positive, "left") + np.searchsorted(negative, positive, "right")
    return float(below.sum() / (2 * len(positive) * len(negative)))


def _area(
    scores: FloatArray, labels: npt.NDArray[np.int64], blocks: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> float | None:
    """AUROC over the pairs of images of one block (a fold, or a day in a fold), as scores of two folds do not compare.

    `scores` and `blocks` are (repeats, n), `rows` (m,) indices of images, some of them more than once. None where no
    block holds both classes.
    """
    area = weight = 0.0
    for repeat in range(len(scores)):
        for block in np.unique(blocks[repeat]):
            here = rows[blocks[repeat, rows] == block]
            pairs = float((labels[here] == 1).sum()) * float((labels[here] == 0).sum())
            if pairs:
                area += pairs * auroc(scores[repeat, here], labels[here])
                weight += pairs
    return area / weight if weight else None


def _interval(
    scores: FloatArray, labels: npt.NDArray[np.int64], blocks: npt.NDArray[np.int64], units: npt.NDArray[np.int64]
) -> tuple[float, float]:
    """95 % interval of the AUROC by drawing patients with replacement."""
    random = np.random.default_rng(0)
    members = np.split(np.argsort(units, kind="stable"), np.cumsum(np.bincount(units))[:-1])
    drawn = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([members[unit] for unit in random.integers(0, len(members), len(members))])
        found = _area(scores[:1], labels, blocks[:1], rows)
        if found is not None:
            drawn.append(found)
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (0.0, 1.0)
    return float(low), float(high)
