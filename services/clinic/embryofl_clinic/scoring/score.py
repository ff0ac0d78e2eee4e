"""Scores of embryos: views of one embryo are averaged, several models give a range, ranks within a cohort."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embryofl.views import Views
from embryofl_clinic.scoring.calibration import sigmoid, wilson
from embryofl_clinic.scoring.folder import ImageToScore
from embryofl_clinic.scoring.image_check import ImageCheck, in_order, inspect_file, warnings
from embryofl_clinic.scoring.network import Network
from embryofl_clinic.texts import texts

BATCH = 32
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ObservedShare:
    """Among `embryos` validation embryos with such a score, the share with label 1 and its 95 % interval."""

    share: float
    low: float
    high: float
    embryos: int


@dataclass(frozen=True)
class EmbryoScore:
    """One embryo.

    Attributes
    ----------
    cohort, embryo, day
        As in `ImageToScore`.
    files : tuple of str
        All its images.
    score : float or None
        Of the mean logit over its usable images and all models; None without a usable image.
    low, high : float or None
        The lowest and the highest score of several models; None with one.
    calibrated : float or None
        Probability of label 1; None without a calibration.
    seen : ObservedShare or None
        None without a calibration, or if no validation embryo had such a score.
    rank, of : int or None
        1 is the highest of the cohort's `of` scored embryos, equal scores share a rank; None if the cohort is unknown.
    warnings : tuple of str
    """

    cohort: str
    embryo: str
    day: int | None
    files: tuple[str, ...]
    score: float | None = None
    low: float | None = None
    high: float | None = None
    calibrated: float | None = None
    seen: ObservedShare | None = None
    rank: int | None = None
    of: int | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scores:
    """All embryos: cohort by cohort, each from the highest score down, those without a score last."""

    embryos: tuple[EmbryoScore, ...]
    models: tuple[dict[str, Any], ...]
    meaning: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON. Contains file names, so it stays at the clinic."""
        return {"format": 1, "use": texts.research_short, **asdict(self)}


def score_folder(
    root: Path,
    images: Sequence[ImageToScore],
    networks: Sequence[Network],
    notes: Sequence[str] = (),
    progress: Progress | None = None,
) -> Scores:
    """Score the images of a folder; it is only read."""
    sides = sorted({n.image_size for n in networks})
    work = [partial(inspect_file, root, image.file, sides) for image in images]
    logits: list[list[float]] = []
    checks: list[ImageCheck] = []
    batch: list[ImageCheck] = []

    def flush() -> None:
        logits.extend(score_images(batch, networks))
        checks.extend(ImageCheck({}, check.values, check.problem) for check in batch)  # without the pixels
        batch.clear()
        if progress:
            progress(len(checks), len(images))

    for check in in_order(work):
        batch.append(check)
        if len(batch) == BATCH:
            flush()
    flush()
    return combine(images, checks, logits, networks, notes)


def score_images(checks: Sequence[ImageCheck], networks: Sequence[Network]) -> list[list[float]]:
    """Logits of every image by every model; NaN for an image that cannot be used."""
    found = np.full((len(checks), len(networks)), np.nan)
    usable = [i for i, check in enumerate(checks) if not check.problem]
    for at in range(0, len(usable), BATCH):
        part = usable[at : at + BATCH]
        for number, network in enumerate(networks):
            found[part, number] = network.logits(np.stack([checks[i].squares[network.image_size] for i in part]))
    return [list(map(float, row)) for row in found]


def combine(
    images: Sequence[ImageToScore],
    checks: Sequence[ImageCheck],
    logits: Sequence[Sequence[float]],
    networks: Sequence[Network],
    notes: Sequence[str] = (),
) -> Scores:
    """From images to embryos, ranks and warnings.

    Parameters
    ----------
    images, checks : sequence
        In the same order.
    logits : sequence of sequence of float
        For each image, one per model.
    networks : sequence of Network
    notes : sequence of str
        What to report besides.
    """
    usable = [i for i, check in enumerate(checks) if not check.problem]
    troubles: dict[int, list[str]] = dict(zip(usable, warnings([checks[i].values for i in usable]), strict=True))
    troubles |= {i: [check.problem] for i, check in enumerate(checks) if check.problem}
    units: dict[tuple[object, ...], list[int]] = {}
    for i, image in enumerate(images):
        units.setdefault(image.unit, []).append(i)
    means = _means(list(units.values()), np.array(logits, np.float64).reshape(len(images), len(networks)))
    embryos = []
    for members, mean in zip(units.values(), means, strict=True):
        first = images[members[0]]
        files = tuple(images[i].file for i in members)
        prefixes = {i: f"{images[i].file}: " if len(members) > 1 else "" for i in members}
        warned = tuple(prefixes[i] + warning for i in members for warning in troubles[i])
        embryos.append(_embryo(first, files, mean, networks, warned))
    cards = [n.card for n in networks]
    models = tuple(
        {
            **c.model_dump(include={"run", "round", "sha256"}),
            "model": c.settings.model,
            "calibrated": bool(c.calibration),
        }
        for c in cards
    )
    return Scores(ranked(embryos), models, cards[0].settings.meaning, tuple(notes))


def _means(units: list[list[int]], logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean over each unit's usable images: (n, k) to (m, k); NaN for a unit without one."""
    found = np.full((len(units), logits.shape[1]), np.nan)
    belongs = [(row, i) for row, members in enumerate(units) for i in members if not np.isnan(logits[i, 0])]
    if belongs:
        rows, numbers = np.unique([row for row, _ in belongs], return_inverse=True)
        views, chosen = Views(numbers), [i for _, i in belongs]
        for k in range(logits.shape[1]):
            found[rows, k] = views.mean(logits[chosen, k])
    return found


def _embryo(
    first: ImageToScore,
    files: tuple[str, ...],
    logits: npt.NDArray[np.float64],
    networks: Sequence[Network],
    warned: tuple[str, ...],
) -> EmbryoScore:
    if np.isnan(logits[0]):
        return EmbryoScore(first.cohort, first.embryo, first.day, files, warnings=warned)
    scores = [sigmoid(float(x)) for x in logits]
    several = len(scores) > 1
    calibrations = [n.card.calibration for n in networks]
    calibrated, seen = None, None
    if all(c is not None for c in calibrations):
        known = [(c, float(x)) for c, x in zip(calibrations, logits, strict=True) if c is not None]
        calibrated = math.fsum(c.probability(x) for c, x in known) / len(known)
        seen = _seen([c.seen(x) for c, x in known])
    return EmbryoScore(
        first.cohort,
        first.embryo,
        first.day,
        files,
        sigmoid(float(logits.mean())),
        min(scores) if several else None,
        max(scores) if several else None,
        calibrated,
        seen,
        warnings=warned,
    )


def _seen(rows: Sequence[Any]) -> ObservedShare | None:
    """Mean share over the models' bins; the interval of the least certain of them."""
    if any(row is None for row in rows):
        return None
    least = min(rows, key=lambda row: row.embryos)
    share = math.fsum(min(row.good / row.embryos, 1.0) for row in rows) / len(rows)
    low, high = wilson(share * least.embryos, least.embryos)
    return ObservedShare(share, low, high, round(least.embryos))


def ranked(embryos: Sequence[EmbryoScore]) -> tuple[EmbryoScore, ...]:
    """Sort embryos and rank them within known cohorts."""
    cohorts: dict[str, list[EmbryoScore]] = {}
    for embryo in embryos:
        cohorts.setdefault(embryo.cohort, []).append(embryo)
    found = []
    for name, members in cohorts.items():
        scored = sorted((e for e in members if e.score is not None), key=lambda e: -(e.score or 0.0))
        for embryo in scored:
            rank = 1 + sum(1 for other in scored if (other.score or 0.0) > (embryo.score or 0.0)) if name else None
            found.append(replace(embryo, rank=rank, of=len(scored) if name else None))
        found += [e for e in members if e.score is None]
    return tuple(found)
