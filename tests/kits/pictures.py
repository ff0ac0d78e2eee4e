"""Pictures as embeddings, with labels: what clinics and a hub that attacks them have. Drawn here; those of real pictures are in
`bench/privacy`."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from embryofl_data.dataset import ImageExamples

Floats = npt.NDArray[np.float64]

FEATURES, EMBRYOS, PUBLIC = 1280, 40, 120


class Pictures(Protocol):
    """Where clinics and attacker have their embeddings from."""

    rng: np.random.Generator

    def train(self) -> ImageExamples:
        """The next clinic's training embryos."""

    def validation(self) -> ImageExamples:
        """The next clinic's validation embryos."""

    def public(self) -> tuple[Floats, Floats]:
        """The attacker's own pictures: embeddings (n, 1280), and labels less their mean (n,)."""


class Population:
    """Drawn embeddings: a spectrum that falls as that of real ones does, and a direction in which the labels differ. A clinic
    has so many validation embryos of one day."""

    def __init__(self, seed: int, embryos: int = EMBRYOS, day: int = 5) -> None:
        self._embryos, self._day = embryos, day
        self.rng = np.random.default_rng(seed)
        self._basis = self.rng.normal(size=(60, FEATURES)) / np.sqrt(np.arange(1, 61))[:, None]
        self._good = self.rng.normal(size=FEATURES)

    def draw(self, n: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Embeddings of mean 0 and variance 1, as `Lite0Head.embed` gives them, float32 (n, 1280), and labels."""
        labels = self.rng.integers(0, 2, n)
        e = self.rng.normal(size=(n, 60)) @ self._basis + 0.5 * self.rng.normal(size=(n, FEATURES))
        e += 0.6 * (labels - 0.5)[:, None] * self._good
        e = (e - e.mean(axis=1, keepdims=True)) / e.std(axis=1, keepdims=True)
        return e.astype(np.float32), labels

    def train(self) -> ImageExamples:
        """See `Pictures`."""
        return examples(*self.draw(EMBRYOS), self._day)

    def validation(self) -> ImageExamples:
        """See `Pictures`."""
        return examples(*self.draw(self._embryos), self._day)

    def public(self) -> tuple[Floats, Floats]:
        """See `Pictures`."""
        e, labels = self.draw(PUBLIC)
        return e.astype(np.float64), labels - labels.mean()


def examples(embeddings: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], day: int = 5) -> ImageExamples:
    """Embryos of one day with one embedding each."""
    each = np.arange(len(labels))
    return ImageExamples(embeddings, each, labels, np.full(len(labels), day), each, each)
