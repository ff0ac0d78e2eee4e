"""Light, colour and size of one image in a few numbers: the effect of lamp, camera and magnification.

Measured on every image when it is decoded, for training or for the report, always in the same way, so that the image
statistics that clinics release (`embryofl.data_statistics`) are comparable.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from embryofl.data_statistics import GREY_BINS, Optics

SIDE: Final = 64
"""Images are averaged down by the whole number that keeps their longer side at least this long."""


def optics_of(image: Image.Image) -> Optics:
    """Measure a decoded image of mode `RGB` or `L`, at any size."""
    small = image.reduce(max(1, max(image.size) // SIDE))
    grey = np.asarray(small.convert("L"), np.float32)  # (h, w)
    shares = np.bincount((np.asarray(grey, np.uint8) // (256 // GREY_BINS)).ravel(), minlength=GREY_BINS) / grey.size
    measured = (float(grey.mean()), float(grey.std()), *colour_of(small), _extent(grey))
    return (*(round(value, 3) for value in measured), *(float(share) for share in np.rint(shares * 1000)))


def colour_of(image: Image.Image) -> tuple[float, float, float]:
    """Means of red minus blue, green minus both, and the largest minus the smallest channel; 0 for grey images."""
    if image.mode != "RGB":
        return 0.0, 0.0, 0.0
    red, green, blue = np.moveaxis(np.asarray(image, np.float32), 2, 0)
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    r, g, b = float(red.mean()), float(green.mean()), float(blue.mean())
    return r - b, g - (r + b) / 2, float(spread.mean())


def _extent(grey: npt.NDArray[np.float32]) -> float:
    """Twice the root of the mean squared distance of all detail from its middle: the diameter of a ring."""
    detail = np.abs(np.diff(grey, axis=0))[:, :-1] + np.abs(np.diff(grey, axis=1))[:-1]
    if not detail.size:  # a single row
        return 0.0
    weight = np.maximum(detail - 2 * np.median(detail), 0)  # without the grain of the camera
    total = float(weight.sum())
    if total == 0:
        return 0.0
    rows, columns = np.indices(weight.shape, dtype=np.float32)
    row, column = float((weight * rows).sum()) / total, float((weight * columns).sum()) / total
    squared = float((weight * ((rows - row) ** 2 + (columns - column) ** 2)).sum()) / total
    return float(2 * np.sqrt(squared) / min(grey.shape))
