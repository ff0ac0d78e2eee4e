"""Real pictures as clinics and attacker have them: embeddings, one of each embryo, divided anew in every world."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from embryofl.models.rotations import TURNS, over_turns
from embryofl.models.zoo import create_model
from embryofl.views import Views
from embryofl_data.cache import open_cache
from embryofl_data.dataset import ClinicData, ImageExamples, image_examples
from embryofl_data.embeddings import Embedder, with_embeddings
from embryofl_data.reading.layouts import read_folder
from kits.pictures import EMBRYOS, Floats, examples

SIDE = 160
CLINICS, TARGETS = 3, 10
"""Clinics of a world, and pictures in question: so many of the first clinic, and so many that no clinic has."""


class Lite0Features:
    """What the last layer of `lite0` is given, with its network as every run begins: the mean over four positions."""

    EMBEDDING = "lite0-features"

    def __init__(self) -> None:
        self._model = create_model("lite0").eval()

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, s, s) to features (n, 1280)."""
        return over_turns(self._model._features, images, TURNS)


def part(images: ImageExamples, members: npt.NDArray[np.int64]) -> ImageExamples:
    """These images, as one each of an embryo."""
    each = np.arange(len(members))
    return ImageExamples(images.pixels, images.rows[members], images.labels[members], images.days[members], each, each)


class Embryos:
    """All labelled embryos of a folder.

    Attributes
    ----------
    embeddings : ndarray of float32, (n, 1280)
        Of several pictures of an embryo the mean: a linear head makes the same of it as of each, averaged.
    labels, days : ndarray of int64, (n,)
    inputs : ImageExamples
        What training is given of them: a picture, or an embedding for `lite0_head`.
    """

    def __init__(self, folder: Path, cache: Path, model: str, side: int = SIDE) -> None:
        contents = read_folder(folder)
        images = [image for image in contents.images if image.label is not None]
        all_images = image_examples(open_cache(folder, [i.file for i in images], cache, side), images)
        embedder = Lite0Features() if model == "lite0" else create_model(model)
        assert isinstance(embedder, Embedder)
        data = ClinicData(contents, side, all_images, all_images, all_images)
        embedded, views = with_embeddings(data, embedder, "cpu").train, Views(all_images.embryos)
        each = embedded.pixels[all_images.rows]
        self.embeddings = np.stack([views.mean(column) for column in each.T], axis=1).astype(np.float32)
        self.labels, self.days = all_images.labels[views.first], all_images.days[views.first]
        self.inputs = part(all_images if model == "lite0" else embedded, views.first)


class World:
    """Three clinics with 40 validation embryos of day 5 and 40 training embryos of day 3; see `kits.pictures.Pictures`.

    All others are the attacker's, but for the pictures in question that no clinic has.

    Attributes
    ----------
    outside : ndarray of float64, (TARGETS, 1280)
        Pictures that no clinic has; day 5.
    """

    def __init__(self, embryos: Embryos, seed: tuple[int, int]) -> None:
        self.rng, self._all = np.random.default_rng(seed), embryos
        three, five = (self.rng.permutation(np.flatnonzero(embryos.days == day)) for day in (3, 5))
        taken = CLINICS * EMBRYOS
        self._training, self._validated = three[:taken], five[:taken]
        self._public = five[taken + TARGETS :], three[taken:]
        self.outside = embryos.embeddings[five[taken : taken + TARGETS]].astype(np.float64)
        self.start()

    def start(self) -> None:
        """The next clinic is the first one again."""
        self._trains, self._validates = self._parts(self._training, 3), self._parts(self._validated, 5)

    def _parts(self, members: npt.NDArray[np.int64], day: int) -> Iterator[ImageExamples]:
        for part in members.reshape(CLINICS, EMBRYOS):
            yield examples(self._all.embeddings[part], self._all.labels[part], day)

    def train(self) -> ImageExamples:
        """See `Pictures`."""
        return next(self._trains)

    def validation(self) -> ImageExamples:
        """See `Pictures`."""
        return next(self._validates)

    def public(self) -> tuple[Floats, Floats]:
        """See `Pictures`. Labels are less their mean on the day."""
        e = [self._all.embeddings[part].astype(np.float64) for part in self._public]
        labels = [self._all.labels[part] for part in self._public]
        return np.concatenate(e), np.concatenate([y - y.mean() for y in labels])
