"""Image statistics: mean, variance and histogram of a few measures over a clinic's images.

A clinic releases them when it joins (`release`). The hub pools them (`pool`) and sends each clinic those of the others,
from which the clinic sees how its images differ (`deviations`).

Small counts: nothing is released of fewer than `FEWEST_IMAGES` images, and a step of a histogram with fewer than 5 is
released as 0. A clinic gets the pooled statistics of at least `FEWEST_CLINICS` others, never of a single one.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from embryofl.metrics import SMALLEST_COUNT
from embryofl.schema import Strict

MEASURES: Final = {
    "brightness": (0.0, 256.0),  # mean grey
    "contrast": (0.0, 96.0),  # standard deviation of grey
    "warmth": (-64.0, 64.0),  # mean of red minus mean of blue
    "tint": (-32.0, 32.0),  # mean of green minus the mean of red and blue
    "saturation": (0.0, 96.0),  # mean of the largest minus the smallest channel
    "extent": (0.0, 1.2),  # diameter of what is visible, relative to the shorter side of the image
}
"""Each measure and the range of its histogram; all but `extent` are in grey levels from 0 to 255."""
GREY_BINS: Final = 16
"""Equal steps from 0 to 255 of the histogram of an image's grey levels."""
Optics = tuple[float, ...]
"""One number for each of `MEASURES`, then the share of each step of grey, in thousandths."""

FEWEST_IMAGES = 20
FEWEST_CLINICS = 2
BINS = 16
FAR = 1.0
"""A clinic differs if its mean is more than this many standard deviations from the others' mean."""
WORDS = {
    "brightness": ("darker", "brighter"),
    "contrast": ("flatter", "of more contrast"),
    "warmth": ("bluer", "redder"),
    "tint": ("more purple", "greener"),
    "saturation": ("paler", "more colourful"),
    "extent": ("less magnified", "more magnified"),
}
LEAST_SPREAD = {"extent": 0.02}
"""Lower bound of the standard deviation that a difference is divided by (grey levels: 2): nobody would see less."""

Count = Annotated[int, Field(ge=0, le=10**9)]


class Spread(Strict):
    """One measure over many images: mean, variance, and images in each of `BINS` equal steps of its range."""

    mean: float = Field(ge=-1000, le=1000)
    variance: float = Field(ge=0, le=1e6)
    bins: list[Count] = Field(min_length=BINS, max_length=BINS)


class DataStatistics(Strict):
    """Statistics over many images, of one clinic or several. `grey`: mean share of each of 16 steps of grey, 0 to 255."""

    clinics: int = Field(default=1, ge=1, le=10**6)
    images: int = Field(ge=FEWEST_IMAGES, le=10**9)
    measures: dict[str, Spread]
    grey: list[Annotated[float, Field(ge=0, le=1)]] = Field(min_length=GREY_BINS, max_length=GREY_BINS)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that change whenever a number changes."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    @model_validator(mode="after")
    def _measures_are_known(self) -> Self:
        if set(self.measures) != set(MEASURES):
            raise ValueError(f"expected the measures {', '.join(MEASURES)}")
        if any(sum(spread.bins) > self.images for spread in self.measures.values()):
            raise ValueError("a histogram counts more images than there are")
        return self


@dataclass(frozen=True)
class Deviation:
    """How one clinic's images differ from the others' in one measure.

    Attributes
    ----------
    measure : str
        One of `MEASURES`.
    own, others, spread : float
        The clinic's mean, the others' mean, and the standard deviation of the others' images.
    distance : float
        Of the clinic's mean from the others', in those standard deviations.
    """

    measure: str
    own: float
    others: float
    spread: float

    @property
    def distance(self) -> float:
        """See `Deviation`."""
        return (self.own - self.others) / max(self.spread, LEAST_SPREAD.get(self.measure, 2.0))

    @property
    def far(self) -> bool:
        """Whether the difference is worth a look."""
        return abs(self.distance) > FAR

    @property
    def words(self) -> str:
        """Such as `brighter than the others' (187 against 151 ± 14)`, or `like the others' (...)`."""
        numbers = f"{self.own:.3g} against {self.others:.3g} ± {self.spread:.2g}"
        if not self.far:
            return f"like the others' ({numbers})"
        return f"{WORDS[self.measure][int(self.distance > 0)]} than the others' ({numbers})"


def release(optics: Sequence[Optics]) -> DataStatistics | None:
    """The statistics that a clinic may release of its images; None for too few.

    Parameters
    ----------
    optics : sequence of Optics
        Of each image.
    """
    table = np.array([row for row in optics if row], np.float64)  # (n, measures and steps of grey)
    if len(table) < FEWEST_IMAGES:
        return None
    measures = {}
    for column, (name, (low, high)) in zip(table.T, MEASURES.items(), strict=False):
        bins = np.histogram(np.clip(column, low, high), BINS, (low, high))[0]
        bins[bins < SMALLEST_COUNT] = 0
        measures[name] = Spread(
            mean=float(f"{column.mean():.6g}"), variance=float(f"{column.var():.6g}"), bins=bins.tolist()
        )
    grey = table[:, len(MEASURES) :].mean(axis=0) / 1000
    return DataStatistics(
        images=len(table), measures=measures, grey=[min(float(f"{share:.4g}"), 1.0) for share in grey]
    )


def pool(parts: Sequence[DataStatistics]) -> DataStatistics:
    """The statistics over all images of at least one part, exact except for rounding."""
    images = np.array([part.images for part in parts], np.float64)
    measures = {}
    for name in MEASURES:
        means = np.array([part.measures[name].mean for part in parts])
        mean = float((images * means).sum() / images.sum())
        squares = np.array([part.measures[name].variance for part in parts]) + (means - mean) ** 2
        bins = np.sum([part.measures[name].bins for part in parts], axis=0)
        measures[name] = Spread(mean=mean, variance=float((images * squares).sum() / images.sum()), bins=bins.tolist())
    grey: npt.NDArray[np.float64] = (images @ np.array([part.grey for part in parts])) / images.sum()
    return DataStatistics(
        clinics=sum(part.clinics for part in parts), images=int(images.sum()), measures=measures, grey=grey.tolist()
    )


def others_of(name: str, parts: dict[str, DataStatistics]) -> DataStatistics | None:
    """Pooled statistics of all clinics except `name`; None for fewer than `FEWEST_CLINICS` others."""
    others = [parts[other] for other in sorted(parts) if other != name]
    return pool(others) if len(others) >= FEWEST_CLINICS else None


def deviations(own: DataStatistics, others: DataStatistics) -> list[Deviation]:
    """How a clinic differs from the others, measure by measure."""
    return [
        Deviation(name, own.measures[name].mean, spread.mean, float(np.sqrt(spread.variance)))
        for name, spread in others.measures.items()
    ]
