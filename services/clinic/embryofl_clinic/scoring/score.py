"""Scores of embryos: views of one embryo are averaged, several models give a range, ranks within a cohort."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embryofl.metrics.bins import expit
from embryofl.metrics.from_histogram import wilson
from embryofl_clinic.scoring.calibration import CalibrationBin
from embryofl_clinic.scoring.folder import ImageToScore
from embryofl_clinic.scoring.image_check import ImageCheck, inspect_file, warnings
from embryofl_clinic.scoring.network import Network
from embryofl_clinic.texts import texts
from embryofl_data.reading.threads import in_threads

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
    inspected = in_threads(work)
    while batch := list(islice(inspected, BATCH)):
        logits += score_images(batch, networks)
        checks += [replace(check, squares={}) for check in batch]  # without the pixels
        if progress:
            progress(len(checks), len(images))
    return combine(images, checks, logits, networks, notes)


def score_images(checks: Sequence[ImageCheck], networks: Sequence[Network]) -> list[list[float]]:
    """Logits of every image by every model; NaN for an image that cannot be used."""
    logits = np.full((len(checks), len(networks)), np.nan)
    usable = [i for i, check in enumerate(checks) if not check.problem]
    for at in range(0, len(usable), BATCH):
        part = usable[at : at + BATCH]
        for number, network in enumerate(networks):
            logits[part, number] = network.logits(np.stack([checks[i].squares[network.image_size] for i in part]))
    rows: list[list[float]] = logits.tolist()
    return rows


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
        Further lines to report.
    """
    usable = [i for i, check in enumerate(checks) if not check.problem]
    messages = {i: [check.problem] for i, check in enumerate(checks)}
    messages |= dict(zip(usable, warnings([checks[i].values for i in usable]), strict=True))
    units: dict[tuple[object, ...], list[int]] = {}
    for i, image in enumerate(images):
        units.setdefault(image.unit, []).append(i)
    table = np.array(logits, np.float64).reshape(len(images), len(networks))
    embryos = []
    for members in units.values():
        first = images[members[0]]
        files = tuple(images[i].file for i in members)
        prefixes = {i: f"{images[i].file}: " if len(members) > 1 else "" for i in members}
        warned = tuple(prefixes[i] + message for i in members for message in messages[i])
        views = [i for i in members if not checks[i].problem]
        mean = table[views].mean(axis=0) if views else None
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


def _embryo(
    first: ImageToScore,
    files: tuple[str, ...],
    logits: npt.NDArray[np.float64] | None,
    networks: Sequence[Network],
    warned: tuple[str, ...],
) -> EmbryoScore:
    embryo = EmbryoScore(first.cohort, first.embryo, first.day, files, warnings=warned)
    if logits is None:
        return embryo
    scores = expit(logits).tolist()
    pairs = [(n.card.calibration, x) for n, x in zip(networks, logits.tolist(), strict=True) if n.card.calibration]
    calibrated, seen = None, None
    if len(pairs) == len(networks):
        calibrated = math.fsum(calibration.probability(x) for calibration, x in pairs) / len(pairs)
        seen = _observed_share([calibration.seen(x) for calibration, x in pairs])
    return replace(
        embryo,
        score=float(expit(logits.mean())),
        low=min(scores) if len(scores) > 1 else None,
        high=max(scores) if len(scores) > 1 else None,
        calibrated=calibrated,
        seen=seen,
    )


def _observed_share(bins: Sequence[CalibrationBin | None]) -> ObservedShare | None:
    """Mean share over the models' bins, with the interval of the least certain; None if one has no such bin."""
    filled = [b for b in bins if b is not None]
    if len(filled) < len(bins):
        return None
    fewest = min(b.embryos for b in filled)
    share = math.fsum(min(b.good / b.embryos, 1.0) for b in filled) / len(filled)
    low, high = wilson(share * fewest, fewest) or (0.0, 1.0)
    return ObservedShare(share, low, high, round(fewest))


def ranked(embryos: Sequence[EmbryoScore]) -> tuple[EmbryoScore, ...]:
    """Sort embryos and rank them within known cohorts."""
    cohorts: dict[str, list[EmbryoScore]] = {}
    for embryo in embryos:
        cohorts.setdefault(embryo.cohort, []).append(embryo)
    ordered = []
    for name, members in cohorts.items():
        scores = sorted((e.score for e in members if e.score is not None), reverse=True)
        for embryo in sorted(members, key=lambda e: -1.0 if e.score is None else e.score, reverse=True):
            if name and embryo.score is not None:
                embryo = replace(embryo, rank=1 + scores.index(embryo.score), of=len(scores))
            ordered.append(embryo)
    return tuple(ordered)
