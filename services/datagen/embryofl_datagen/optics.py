"""From layers to a photograph: oblique light, focus, camera.

Hoffman modulation contrast shades a specimen by the slope of its optical path along one direction (Hoffman and Gross
1975, Applied Optics 14:1169); a little defocus adds its curvature (transport of intensity, Teague 1983). Both are
linear in the path, so that one multiplication in the frequency domain gives shade, lines, focus and sharpening.
"""

import numpy as np
from numpy.typing import NDArray

from .canvas import Canvas, Plane, frequencies
from .profiles import Optics


def photograph(canvas: Canvas, optics: Optics, rng: np.random.Generator, crop: int) -> NDArray[np.uint8]:
    """Expose the canvas.

    Parameters
    ----------
    crop : int
        Pixels to cut off on every side; the frequency domain joins opposite sides.

    Returns
    -------
    uint8 array (side - 2 crop, side - 2 crop, 3)
    """
    side = canvas.side
    inner = slice(crop, side - crop)
    size = side - 2 * crop
    blur = max(optics.blur * size * rng.uniform(0.8, 1.5), 0.55)
    relief = _relief(canvas, optics, size, blur)
    density = _blurred(canvas.density, blur * 1.2)
    shade = np.tanh(np.float32(optics.contrast) * relief) * np.where(relief > 0, np.float32(0.55), np.float32(0.8))
    level = _illumination(canvas, optics, rng) * np.exp(-density) * (1 + shade)
    grain = rng.standard_normal((size, size), np.float32)
    pixels = np.empty((size, size, 3), np.uint8)
    for channel, plane in enumerate(_colours(canvas, optics, rng, level, relief)):
        noise = 0.85 * grain
        if optics.fringe:
            noise += 0.4 * rng.standard_normal((size, size), np.float32)
        noisy = plane[inner, inner] + np.float32(optics.noise) * noise
        pixels[..., channel] = np.clip(noisy, 0, 1) * 255 + np.float32(0.5)
    return pixels


def _relief(canvas: Canvas, optics: Optics, size: int, blur: float) -> Plane:
    """Relative change of light by slope and curvature of the optical path, dimensionless."""
    fy, fx = frequencies(canvas.side)
    squared = fy * fy + fx * fx
    angle = np.deg2rad(optics.direction_deg)
    slope = np.complex64(2j * np.pi) * (fx * np.float32(np.cos(angle)) + fy * np.float32(np.sin(angle)))
    unit = size / 256
    curvature = np.float32(4 * np.pi**2) * squared * np.float32(0.85 * optics.outline * unit)
    line = _gauss(squared, 0.0045 * size)
    transfer = (np.float32(0.30 * optics.relief) * slope + 0.5 * curvature * line).astype(np.complex64)
    focus = _gauss(squared, blur)
    sharpen = 1 + np.float32(optics.sharpening) * (1 - _gauss(squared, 0.012 * size))
    far = _gauss(squared, max(0.011 * size, 1.0))
    spectrum = np.fft.rfft2(canvas.sharp) * (focus * sharpen) + np.fft.rfft2(canvas.far) * far
    return np.asarray(np.fft.irfft2(spectrum * transfer, canvas.sharp.shape), np.float32)


def _gauss(squared: Plane, sigma: float) -> Plane:
    return np.asarray(np.exp(np.float32(-2 * np.pi**2 * sigma * sigma) * squared), np.float32)


def _blurred(plane: Plane, sigma: float) -> Plane:
    fy, fx = frequencies(plane.shape[0])
    spectrum = np.fft.rfft2(plane) * _gauss(fy * fy + fx * fx, sigma)
    return np.asarray(np.fft.irfft2(spectrum, plane.shape), np.float32)


def _illumination(canvas: Canvas, optics: Optics, rng: np.random.Generator) -> Plane:
    x, y = canvas.centred()
    ox, oy = rng.uniform(-0.3, 0.3, 2).tolist()
    fall = np.float32(optics.vignette) * ((x - ox) ** 2 + (y - oy) ** 2) * 0.5
    angle = np.deg2rad(optics.direction_deg)
    tilt = np.float32(0.05 * rng.uniform(0.3, 1.2)) * (x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle)))
    level = optics.illumination * rng.uniform(0.93, 1.07)
    return np.asarray(level * (1 - fall + tilt), np.float32)


def _colours(canvas: Canvas, optics: Optics, rng: np.random.Generator, level: Plane, relief: Plane) -> list[Plane]:
    """Red, green and blue plane: the tint of medium and cytoplasm, its drift, and fringes at edges."""
    if not optics.fringe:
        return [level * np.float32(tint) for tint in optics.background]
    tissue = _blurred(np.minimum(canvas.tissue, 1), 0.008 * canvas.side)
    x, y = canvas.centred()
    turn = rng.uniform(0, 2 * np.pi)
    along = x * np.float32(np.cos(turn)) + y * np.float32(np.sin(turn))
    hue = rng.standard_normal(3)
    edge = np.float32(0.16 * optics.fringe) * np.clip(relief, -1, 1)
    # Red and blue are focused a pixel to either side of green.
    fringes = (np.roll(edge, 1, axis=1) * 0.3, edge * -0.2, np.roll(edge, -1, axis=1) * -0.1)
    planes = []
    for medium, cytoplasm, shift, fringe in zip(
        optics.background, optics.cytoplasm, (optics.drift * (hue - hue.mean())).tolist(), fringes, strict=True
    ):
        tint = (medium + (cytoplasm - medium) * tissue) * (1 + shift * along)
        planes.append(np.asarray(level * (tint + fringe), np.float32))
    return planes
