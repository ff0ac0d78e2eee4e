"""One picture: frame, embryo, surroundings, photograph."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .blastocyst import draw_blastocyst
from .canvas import Canvas, bands
from .cleavage import draw_cleavage
from .cohort import Morphology
from .profiles import ClinicProfile
from .surroundings import draw_debris, draw_well
from .zona import Frame

MARGIN = 0.07


def draw_picture(
    profile: ClinicProfile, morphology: Morphology, side: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Photograph one embryo with a clinic's optics: uint8 (side, side, 3)."""
    from .optics import photograph

    optics = profile.optics
    native = max(round(side * optics.resolution), 48)
    crop = round(MARGIN * native)
    canvas = Canvas(native + 2 * crop)
    radius = native * optics.magnification * rng.uniform(0.94, 1.06)
    slack = native * (0.045 if not optics.well else 0.06)
    x, y = canvas.side / 2 + slack * rng.uniform(-1, 1, 2)
    frame = Frame(float(x), float(y), float(radius))
    textures = bands(rng, canvas.side, (0.0035 * native, 0.0075 * native, 0.026 * native))
    if morphology.day == 3:
        draw_cleavage(canvas, rng, morphology, frame, textures)
    else:
        draw_blastocyst(canvas, rng, morphology, frame, textures)
    draw_debris(canvas, rng, profile.debris, frame, native)
    if optics.well:
        draw_well(canvas, rng, native)
    pixels = photograph(canvas, optics, rng, crop)
    if native == side:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))
