"""An image's print: what remains without light, contrast, and the round outline that all embryos share.

Two images of one embryo have similar prints, even if one is cropped, lit differently, or focused a little higher.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from embryofl_data.reading.decode import scaled

SIDE: Final = 64
FINE, COARSE, LOCAL = 1.5, 7.0, 10.0
"""Standard deviations in pixels of a print. Details finer than `FINE` change with focus, what is coarser than `COARSE`
with the light; contrast is evened out over `LOCAL`. Chosen on half of the known groups of Hung Vuong."""
QUIET = 1.0
"""Grey levels: contrast below this is noise and is not brought up."""
STEP = 1 / 40
"""One unit of the int8 print; values of a print lie between -2.5 and 2.5."""

IntImage = npt.NDArray[np.int8]
FloatImage = npt.NDArray[np.float32]


def make_print(image: Image.Image) -> IntImage:
    """The print of an image of mode `L` and any size: int8 (SIDE, SIDE) in units of `STEP`."""
    grey = to_square(image)
    band = ndimage.gaussian_filter(grey, FINE) - ndimage.gaussian_filter(grey, COARSE)
    band /= np.sqrt(ndimage.gaussian_filter(band * band, LOCAL, truncate=3.0)) + QUIET
    rest = _without_rings(band, symmetry_centre(grey))
    return np.asarray(np.rint(np.clip(rest / STEP, -127, 127)), np.int8)


def to_square(image: Image.Image) -> FloatImage:
    """Scale the longer side to `SIDE` and mirror the shorter one outwards: a border would look alike in all images."""
    pixels = np.asarray(scaled(image, SIDE), np.float32)
    height, width = pixels.shape
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    return np.pad(pixels, ((top, SIDE - height - top), (left, SIDE - width - left)), mode="symmetric")


def symmetry_centre(grey: FloatImage) -> tuple[float, float]:
    """The point (row, column) that most edges face: the centre of the embryo, or of the well.

    Least-squares intersection of the lines through the strongest edges along their gradients.
    """
    smooth = ndimage.gaussian_filter(grey, 1.0)
    down, right = ndimage.sobel(smooth, 0), ndimage.sobel(smooth, 1)
    strength = np.hypot(down, right)
    weight = np.where(strength >= np.percentile(strength, 70), strength, 0.0)
    down, right = down / (strength + 1e-6), right / (strength + 1e-6)
    rows, columns = _GRID
    dd, rr, dr = weight * (1 - down * down), weight * (1 - right * right), -weight * down * right
    matrix = np.array([[dd.sum(), dr.sum()], [dr.sum(), rr.sum()]]) + 1e-3 * np.eye(2)
    middle = (SIDE - 1) / 2
    target = np.array([(dd * rows + dr * columns).sum(), (dr * rows + rr * columns).sum()]) + 1e-3 * middle
    row, column = np.linalg.solve(matrix, target)
    return float(row), float(column)


def _without_rings(values: FloatImage, centre: tuple[float, float]) -> FloatImage:
    """Take out the mean over every ring around a centre: an oocyte's outline would match every other oocyte's."""
    rows, columns = _GRID
    ring = np.rint(np.hypot(rows - centre[0], columns - centre[1])).astype(np.int64)
    ring = np.minimum(ring, 4 * SIDE).ravel()
    mean = np.bincount(ring, values.ravel()) / np.maximum(np.bincount(ring), 1)
    return np.asarray(values - mean[ring].reshape(values.shape), np.float32)


_GRID = np.mgrid[:SIDE, :SIDE].astype(np.float32)
