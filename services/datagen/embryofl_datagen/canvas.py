"""The layers an embryo is drawn on, and the shapes drawn on them.

Everything is optical: a layer of thickness bends light (its slope becomes shade, its curvature becomes bright and dark
lines, see `optics`), a layer of density swallows it. Lengths are in pixels here; float32 throughout.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Window = tuple[slice, slice]


class Canvas:
    """Layers of one image, each of shape (side, side).

    Attributes
    ----------
    sharp, far : float32
        Thickness in focus and out of focus.
    density : float32
        Absorption: light is multiplied by exp(-density).
    tissue : float32
        Where there is cytoplasm, 0 to 1: decides the colour.
    """

    def __init__(self, side: int) -> None:
        self.side = side
        self.sharp, self.far, self.density, self.tissue = np.zeros((4, side, side), np.float32)
        axis = np.arange(side, dtype=np.float32)
        self.rows, self.columns = axis[:, None], axis[None, :]

    def window(self, x: float, y: float, reach: float) -> Window:
        """The part of the layers within `reach` of a point; empty when it lies outside."""
        top, bottom = max(int(y - reach), 0), min(int(y + reach) + 2, self.side)
        left, right = max(int(x - reach), 0), min(int(x + reach) + 2, self.side)
        return slice(top, max(top, bottom)), slice(left, max(left, right))

    def centred(self) -> tuple[Plane, Plane]:
        """Coordinates (x, y) from -1 to 1, broadcastable."""
        half = self.side / 2
        return (self.columns - half) / half, (self.rows - half) / half

    def offsets(self, window: Window, x: float, y: float) -> tuple[Plane, Plane]:
        """Distances (dx, dy) from a point to the pixels of a window, broadcastable."""
        return self.columns[:, window[1]] - np.float32(x), self.rows[window[0]] - np.float32(y)


def smoothstep(x: Plane) -> Plane:
    """0 below 0, 1 above 1, smooth between."""
    t = np.clip(x, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def cap(rho2: NDArray[np.floating[Any]]) -> Plane:
    """Height of a unit sphere over its equator at squared distance `rho2`; 0 outside."""
    return np.asarray(np.sqrt(np.maximum(1 - rho2, 0)), np.float32)


@dataclass(frozen=True)
class Outline:
    """A rounded, slightly irregular closed outline.

    Attributes
    ----------
    aspect : float
        Long over short axis, 1 or more.
    tilt : float
        Direction of the long axis in radians.
    bumps : float64 array (k, 2)
        Amplitude and phase of harmonics 2, 3, ... of the radius.
    """

    aspect: float
    tilt: float
    bumps: NDArray[np.float64]

    @staticmethod
    def draw(rng: np.random.Generator, aspect: float, irregularity: float, harmonics: int = 3) -> "Outline":
        """Draw one with the given irregularity (standard deviation of the radius over the radius)."""
        scale = irregularity / (1 + np.arange(harmonics))
        bumps = np.stack([scale * rng.standard_normal(harmonics), rng.uniform(0, 2 * np.pi, harmonics)], axis=1)
        return Outline(aspect, float(rng.uniform(0, np.pi)), bumps)

    def rho2(self, dx: Plane, dy: Plane, radius: float) -> Plane:
        """Squared distance to the centre in units of the radius in that direction."""
        cos, sin = np.float32(np.cos(self.tilt)), np.float32(np.sin(self.tilt))
        root = np.float32(np.sqrt(self.aspect))
        along, across = (dx * cos + dy * sin) / root, (dy * cos - dx * sin) * root
        squared = (along * along + across * across) / np.float32(radius * radius)
        if self.bumps.any():
            angle = np.arctan2(across, along)
            factor = np.ones_like(squared)
            for k, (amplitude, phase) in enumerate(self.bumps, start=2):
                factor += np.float32(amplitude) * np.cos(np.float32(k) * angle + np.float32(phase))
            squared = squared / (factor * factor)
        return np.asarray(squared, np.float32)

    def dome(self, canvas: Canvas, x: float, y: float, radius: float, reach: float) -> tuple[Window, Plane]:
        """A body of this outline: the window within `reach` of its centre, and its height there, 0 to 1."""
        window = canvas.window(x, y, reach)
        return window, cap(self.rho2(*canvas.offsets(window, x, y), radius))


def bands(rng: np.random.Generator, side: int, scales: tuple[float, ...]) -> list[Plane]:
    """Random textures of mean 0 and standard deviation 1, one for each grain size in pixels, from one noise."""
    spectrum = np.fft.rfft2(rng.standard_normal((side, side), np.float32))
    fy, fx = frequencies(side)
    squared = fy * fy + fx * fx
    textures = []
    for scale in scales:
        width = np.float32(2 * np.pi**2 * scale * scale) * squared
        texture = np.fft.irfft2(spectrum * (np.exp(-width) - np.exp(-4 * width)), (side, side))
        textures.append(np.asarray(texture / (texture.std() + 1e-9), np.float32))
    return textures


def frequencies(side: int) -> tuple[Plane, Plane]:
    """Frequencies (fy, fx) of `numpy.fft.rfft2` in cycles per pixel, broadcastable."""
    return np.fft.fftfreq(side).astype(np.float32)[:, None], np.fft.rfftfreq(side).astype(np.float32)[None, :]
