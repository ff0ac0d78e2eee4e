"""One image: frame, embryo, surroundings, photograph."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .blastocyst import draw_blastocyst
from .canvas import Canvas, bands
from .cleavage import draw_cleavage
from .cohort import Morphology
from .optics import photograph
from .profiles import ClinicProfile
from .surroundings import draw_debris, draw_dish_edge, draw_well
from .zona import EmbryoCircle

# Border drawn around the image and cut off, as a share of its side.
_MARGIN = 0.05
# Grain sizes of the fine, coarse and broad texture, as shares of the image's side.
_GRAINS = (0.0035, 0.0075, 0.026)
_DISH_EDGES = 0.07


def draw_image(
    profile: ClinicProfile, morphology: Morphology, side: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Photograph one embryo with a clinic's optics.

    Returns
    -------
    uint8 array (side, side, 3)
        RGB; grey images have three equal channels.
    """
    optics = profile.optics
    native = max(2 * round(side * optics.resolution / 2), 48)
    canvas = Canvas(_quick_side(native))
    radius = native * optics.magnification * rng.uniform(0.94, 1.06)
    slack = native * (0.06 if optics.well else 0.045)
    x, y = canvas.side / 2 + slack * rng.uniform(-1, 1, 2)
    frame = EmbryoCircle(float(x), float(y), float(radius))
    textures = bands(rng, canvas.side, tuple(grain * native for grain in _GRAINS))
    draw = draw_cleavage if morphology.day == 3 else draw_blastocyst
    draw(canvas, rng, morphology, frame, textures)
    draw_debris(canvas, rng, profile.debris, frame, native)
    if optics.well:
        draw_well(canvas, rng, native)
    elif rng.uniform() < _DISH_EDGES:
        draw_dish_edge(canvas, rng, native)
    pixels = photograph(canvas, optics, rng, (canvas.side - native) // 2)
    if native == side:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


def _quick_side(native: int) -> int:
    """Side of the canvas: even, with room for the margin, and a product of 2, 3 and 5 for the Fourier transform."""
    side = 2 * round(native * (0.5 + _MARGIN))
    while True:
        rest = side
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return side
        side += 2
