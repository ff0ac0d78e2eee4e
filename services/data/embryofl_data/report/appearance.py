"""Plain measurements of an image: light, colour, sharpness, and where in the frame there is structure."""

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from embryofl_data.reading.decode import scaled
from embryofl_data.reading.optics import colour_of

SIDE: Final = 256
"""Longer side at which images are measured, so that those of several cameras compare."""
DETAIL = 6.0
"""Grey levels: local contrast above this is structure and not grain of the camera."""
MARGIN = 3
"""Width of the margin of which `edge_touch` is the share with structure, in pixels of half the side."""

NAMES: Final = (
    "brightness",  # mean grey, 0 to 255
    "contrast",  # standard deviation of grey
    "dark",  # share of pixels at the lower end, 4 and below
    "bright",  # share of pixels at the upper end, 251 and above
    "warmth",  # mean of red minus blue
    "tint",  # mean of green minus the mean of red and blue
    "saturation",  # mean of the largest minus the smallest channel
    "sharpness",  # log2 of fine to coarse detail; lower is more blurred
    "smear",  # log2 of the ratio of detail along the two main directions; 0 in a round image
    "coverage",  # share of the image with structure
    "edge_touch",  # share of the margin with structure
    "diameter",  # of the largest structure, from its height and width, to the shorter side
    "off_centre",  # distance of its middle from the frame's, to half the shorter side
    "vignette",  # mean grey of the corners minus that of the middle
)

FloatImage = npt.NDArray[np.float32]


def measure_image(image: Image.Image) -> tuple[float, ...]:
    """Measure an image of mode `RGB` or `L`; one number for each of `NAMES`."""
    small = scaled(image, SIDE, least=8)
    grey = np.asarray(small.convert("L"), np.float32)
    light = (float(grey.mean()), float(grey.std()), float((grey <= 4).mean()), float((grey >= 251).mean()))
    return (*light, *colour_of(small.reduce(4)), *_detail(grey), *_structure(grey), _vignette(grey))


def _detail(grey: FloatImage) -> tuple[float, ...]:
    """Sharpness and smear, both from gradients at two scales; free of light and contrast."""
    fine = ndimage.gaussian_filter(grey, 0.7, truncate=3.0)
    down, right = np.diff(fine, axis=0)[:, :-1], np.diff(fine, axis=1)[:-1]
    coarse = ndimage.gaussian_filter(grey, 2.5, truncate=3.0)
    coarse_energy = (np.diff(coarse, axis=0) ** 2).mean() + (np.diff(coarse, axis=1) ** 2).mean()
    rows, columns, mixed = float((down**2).mean()), float((right**2).mean()), float((down * right).mean())
    sharpness = np.log2((rows + columns + 0.02) / (coarse_energy + 0.01))
    # Eigenvalues of the structure tensor: detail along the strongest and the weakest direction.
    middle, half = (rows + columns) / 2, np.hypot((rows - columns) / 2, mixed)
    smear = np.log2((middle + half + 0.01) / (middle - half + 0.01))
    return float(sharpness), float(smear)


def _structure(grey: FloatImage) -> tuple[float, ...]:
    """Where there is structure: share of the image and of its margin, size and place of the largest part."""
    half = np.asarray(Image.fromarray(grey).reduce(2), np.float32)
    square = ndimage.uniform_filter(half * half, 5) - ndimage.uniform_filter(half, 5) ** 2
    spread = np.sqrt(np.maximum(square, 0))
    level = max(DETAIL, 0.35 * float(np.percentile(spread, 95)))
    structure = ndimage.uniform_filter((spread > level).astype(np.float32), 7) > 0.4
    margin = np.ones_like(structure)
    margin[MARGIN:-MARGIN, MARGIN:-MARGIN] = False
    labels, count = ndimage.label(structure)
    if not count:
        return 0.0, 0.0, 0.0, 0.0
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    rows, columns = ndimage.find_objects(labels)[largest - 1]
    height, width = half.shape
    off = np.hypot((rows.start + rows.stop - height) / 2, (columns.start + columns.stop - width) / 2)
    shorter = min(height, width)
    diameter = np.sqrt((rows.stop - rows.start) * (columns.stop - columns.start))
    return (
        float(structure.mean()),
        float(structure[margin].mean()),
        float(diameter / shorter),
        float(off / (shorter / 2)),
    )


def _vignette(grey: FloatImage) -> float:
    height, width = grey.shape
    top, left = max(1, height // 8), max(1, width // 8)
    outer = np.concatenate([grey[:top], grey[-top:]])
    corners = np.concatenate([outer[:, :left], outer[:, -left:]])
    middle = grey[3 * height // 8 : 5 * height // 8, 3 * width // 8 : 5 * width // 8]
    return float(corners.mean() - middle.mean())
