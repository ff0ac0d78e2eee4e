"""Pairs of images that show one embryo."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """Two images.

    Attributes
    ----------
    first, second : int
        Indices of usable images, `first < second`.
    likeness : float
        Correlation after alignment, 1 is the same picture.
    """

    first: int
    second: int
    likeness: float
