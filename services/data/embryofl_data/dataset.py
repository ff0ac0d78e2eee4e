"""A clinic's examples, ready to train: folder read, images decoded, patients split."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embryofl.errors import DataError
from embryofl.gardner import STEPS, steps_of
from embryofl_data.cache import DecodedCache, open_cache
from embryofl_data.reading.contract import DataFolder, EmbryoImage
from embryofl_data.reading.layouts import read_folder
from embryofl_data.reading.scan import FileInfo
from embryofl_data.split import SPLITS, split_by_patient

MIN_TRAIN = 20
"""Least number of training examples with which a clinic takes part."""


@dataclass(frozen=True)
class ImageExamples:
    """Labelled images of one of the three splits; several may be views of one embryo.

    Attributes
    ----------
    pixels : numpy.ndarray
        uint8 (m, s, s, 3), memory-mapped and shared by all splits: take `pixels[rows[i]]`. Or float32 (m, d):
        embeddings instead, see `embryofl_data.embeddings`.
    rows : numpy.ndarray
        int64 (n,), rows of `pixels`.
    labels : numpy.ndarray
        int64 (n,), 0 or 1.
    days : numpy.ndarray
        int64 (n,), 0 where unknown.
    embryos : numpy.ndarray
        int64 (n,), number of the embryo in an image, from 0 without gaps: images of one embryo, day and label are views.
    groups : numpy.ndarray
        int64 (n,), number of the patient (else embryo, else image), from 0 without gaps: what an interval by patient
        resamples.
    cohorts : numpy.ndarray or None
        int64 (n,), number of the patient; -1 where it is unknown. None: unknown for all.
    grades : numpy.ndarray or None
        float32 (n, STEPS), steps of the Gardner grades (`embryofl.gardner`), NaN where unknown. None: unknown for all.
    contents : sequence of str or None
        SHA-256 of each image file, (n,). None: unknown for all.
    """

    pixels: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    days: npt.NDArray[np.int64]
    embryos: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    cohorts: npt.NDArray[np.int64] | None = None
    grades: npt.NDArray[np.float32] | None = None
    contents: Sequence[str] | None = None

    def __len__(self) -> int:
        """Number of embryos."""
        return len(np.unique(self.embryos))


def pool(parts: Sequence[ImageExamples]) -> ImageExamples:
    """The examples of several clinics as if they were one clinic's; the pixels are copied."""
    pixels = np.concatenate([p.pixels[p.rows] for p in parts])
    return ImageExamples(
        pixels,
        np.arange(len(pixels)),
        np.concatenate([p.labels for p in parts]),
        np.concatenate([p.days for p in parts]),
        _renumbered([p.embryos for p in parts]),
        _renumbered([p.groups for p in parts]),
        _renumbered([np.full(len(p.rows), -1) if p.cohorts is None else p.cohorts for p in parts]),
        np.concatenate([np.full((len(p.rows), STEPS), np.nan) if p.grades is None else p.grades for p in parts]),
    )


def _renumbered(parts: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Numbers from 0 of several clinics, none twice; -1 stays."""
    numbers, start = [], 0
    for part in parts:
        numbers.append(np.where(part < 0, part, part + start))
        start += int(part.max(initial=-1)) + 1
    return np.concatenate(numbers)


@dataclass(frozen=True)
class ClinicData:
    """What a clinic trains and evaluates on. `folder` holds the usable images and all problems."""

    folder: DataFolder
    image_size: int
    train: ImageExamples
    validation: ImageExamples
    test: ImageExamples


def load_clinic_data(root: Path, cache_dir: Path, image_size: int) -> ClinicData:
    """Read, decode and split a clinic's folder, which is only read; files of the same content stay in one split.

    Images are decoded to squares of `image_size` pixels and kept in `cache_dir`.

    Raises
    ------
    DataError
        When the folder cannot be read, or is not enough to train: see `split_to_train`.
    UserError
        When the cache cannot be written.
    """
    folder = read_folder(root)
    labelled = [image.file for image in folder.images if image.label is not None]
    cache = open_cache(root, labelled, cache_dir, image_size)
    folder = usable_part(folder, cache.infos)
    links = [cache.infos[image.file].sha256 if image.file in cache.infos else "" for image in folder.images]
    splits = split_to_train(folder, links)
    examples = {split: image_examples(cache, [folder.images[index] for index in splits[split]]) for split in SPLITS}
    return ClinicData(folder, image_size, examples["train"], examples["validation"], examples["test"])


def usable_part(folder: DataFolder, infos: Mapping[str, FileInfo]) -> DataFolder:
    """The folder without the images that could not be decoded, and with their problems."""
    problems = [problem for info in infos.values() if (problem := info.problem)]
    images = tuple(image for image in folder.images if image.file not in infos or infos[image.file].usable)
    return replace(folder, images=images, problems=folder.problems + tuple(problems))


def split_to_train(folder: DataFolder, links: Sequence[str]) -> dict[str, list[int]]:
    """Split a folder's usable images.

    Raises
    ------
    DataError
        No label, one class only, too few patients, or too few training examples.
    """
    images = folder.images
    labels = Counter(image.label for image in images if image.label is not None)
    skipped = _skipped(folder)
    if not labels:
        raise DataError(
            "D4",
            f"None of the {len(images)} usable images in {folder.root} has a label{skipped}. Expected at least {MIN_TRAIN} "
            "training embryos, of both classes. Fill in the column label of labels.csv with 1 and 0.",
        )
    if len(labels) == 1:
        raise DataError(
            "D4",
            f"All {labels.total()} labelled images in {folder.root} have the label {next(iter(labels))}{skipped}. "
            "Expected both 1 and 0. Add images of the other class, or check the column label.",
        )
    splits = split_by_patient(images, links=links)
    train = Counter({images[index].unit: images[index].label for index in splits["train"]}.values())
    if train.total() < MIN_TRAIN or len(train) < 2:
        raise DataError(
            "D4",
            f"{folder.root} has {train.total()} training embryos ({train[1]} with label 1, {train[0]} with label 0) out of "
            f"{labels.total()} labelled images; validation patients have {len(splits['validation'])} images and test "
            f"patients {len(splits['test'])}{skipped}. Expected at least {MIN_TRAIN} training embryos, of both classes. "
            "Add labelled patients.",
        )
    return splits


def _skipped(folder: DataFolder) -> str:
    """`; skipped: 3 unreadable, 1 missing`, or nothing."""
    kinds = Counter(problem.kind for problem in folder.problems if problem.leaves_out)
    listed = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in kinds.most_common())
    return f"; skipped: {listed}" if listed else ""


def image_examples(cache: DecodedCache, images: Sequence[EmbryoImage]) -> ImageExamples:
    """Labelled images of one split, with their pixels in the cache."""
    return ImageExamples(
        cache.pixels,
        np.array([cache.rows[image.file] for image in images], np.int64),
        np.array([image.label for image in images], np.int64),
        np.array([image.day or 0 for image in images], np.int64),
        _numbers([image.unit for image in images]),
        _numbers([image.group for image in images]),
        _numbers([image.patient or None for image in images]),
        np.array([steps_of(image.expansion, image.icm, image.te) for image in images], np.float32).reshape(-1, STEPS),
        [cache.infos[image.file].sha256 for image in images],
    )


def _numbers(names: Sequence[Hashable]) -> npt.NDArray[np.int64]:
    """Numbers of names in the order of their first appearance, -1 for None."""
    numbers: dict[Hashable, int] = {}
    return np.array([-1 if name is None else numbers.setdefault(name, len(numbers)) for name in names], np.int64)
