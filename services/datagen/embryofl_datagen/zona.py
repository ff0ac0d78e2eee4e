"""The zona pellucida, and where in the image the embryo lies."""

from dataclasses import dataclass

import numpy as np

from .canvas import Canvas, Outline, Plane, cap, smoothstep


@dataclass(frozen=True)
class EmbryoCircle:
    """Place of the embryo in pixels: centre and outer radius of the zona pellucida."""

    x: float
    y: float
    radius: float


def draw_zona(
    canvas: Canvas,
    rng: np.random.Generator,
    frame: EmbryoCircle,
    thickness: float,
    texture: Plane,
    strength: float = 1.0,
) -> float:
    """Draw the shell; return the radius of the room inside, in pixels.

    Parameters
    ----------
    thickness : float
        As a share of the outer radius; about 0.17 on day 3, 0.05 in an expanded blastocyst.
    strength : float
        Refraction relative to that of a day-3 zona.
    """
    inner = frame.radius * (1 - thickness)
    outline = Outline.draw(rng, rng.uniform(1.0, 1.05), 0.006)
    dx, dy = canvas.columns - np.float32(frame.x), canvas.rows - np.float32(frame.y)
    rho2 = outline.rho2(dx, dy, frame.radius)
    ratio = np.float32((frame.radius / inner) ** 2)
    shell = np.float32(frame.radius) * cap(rho2) - np.float32(inner) * cap(rho2 * ratio)
    wall = smoothstep((1.15 - rho2) * 3.2) * smoothstep((rho2 - 1 / ratio) * 10 + 0.5)
    canvas.far += np.float32(0.20 * strength) * shell
    canvas.sharp += np.float32(0.045 * strength) * shell + np.float32(0.0013 * frame.radius * strength) * wall * texture
    canvas.density += np.float32(0.05 * strength) * wall
    canvas.tissue += 0.4 * wall
    return inner
