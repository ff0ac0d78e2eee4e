"""Day-5 embryos: a cavity within trophectoderm, with an inner cell mass, growing out of its zona."""

from dataclasses import dataclass

import numpy as np

from .canvas import Canvas, Outline, Plane, cap, smoothstep
from .cohort import Morphology
from .packing import pack
from .zona import EmbryoCircle, draw_zona

# Gardner's grades at which the blastocyst leaves its zona, and has left it.
HATCHING, HATCHED = 5.0, 6.0


@dataclass(frozen=True)
class _Body:
    """The blastocyst without its zona, in pixels; `pole` is the direction of the inner cell mass in radians."""

    x: float
    y: float
    radius: float
    pole: float

    def at(self, angle: float, distance: float) -> tuple[float, float]:
        """Point at a distance from the centre."""
        return self.x + distance * float(np.cos(angle)), self.y + distance * float(np.sin(angle))


def draw_blastocyst(
    canvas: Canvas, rng: np.random.Generator, morphology: Morphology, frame: EmbryoCircle, textures: list[Plane]
) -> None:
    """Draw a blastocyst of the given morphology into the frame.

    Parameters
    ----------
    textures : list of 3 float32 arrays
        Fine, coarse and broad, each of the canvas's shape.
    """
    fine, coarse, broad = textures
    body = _draw_shell(canvas, rng, morphology.expansion, frame, coarse)
    dx, dy = canvas.columns - np.float32(body.x), canvas.rows - np.float32(body.y)
    rho2 = Outline.draw(rng, rng.uniform(1.0, 1.05), 0.008).rho2(dx, dy, body.radius)
    inside = smoothstep((1 - rho2) * 12)
    canvas.sharp += np.float32(0.20 * body.radius) * cap(rho2)

    hole = _cavity(canvas, rng, morphology.expansion, body)
    canvas.sharp += _filling(canvas, rng, morphology.te, body) * (0.75 - 0.62 * hole)
    canvas.sharp += inside * hole * np.float32(0.013 * body.radius) * broad
    _trophectoderm(canvas, rng, morphology.te, body, coarse)
    _inner_cell_mass(canvas, rng, morphology.icm, body, fine, coarse)

    solid = inside * (1 - hole)
    grain = np.float32(0.004 + 0.02 * morphology.darkness) * coarse + np.float32(0.010) * fine
    grain += np.float32(0.012) * np.maximum(fine - 1.2, 0)
    canvas.sharp += solid * grain * np.float32(0.5 * body.radius)
    canvas.density += solid * np.float32(0.10 + 0.26 * morphology.darkness) * (1 + 0.3 * coarse)
    canvas.tissue += inside * (0.35 + 0.65 * (1 - hole))


def _draw_shell(
    canvas: Canvas, rng: np.random.Generator, expansion: float, frame: EmbryoCircle, coarse: Plane
) -> _Body:
    """Draw the zona, thinner as the embryo grows, and what has come out of it; return the room inside."""
    growth = float(np.clip((expansion - 2.5) / 3.0, 0, 1))
    thickness = 0.17 - 0.125 * growth + rng.uniform(-0.01, 0.01)
    radius = frame.radius * (0.88 + 0.16 * growth)
    pole = float(rng.uniform(0, 2 * np.pi))
    exit_angle = pole + rng.uniform(1.0, 2 * np.pi - 1.0)
    if expansion >= HATCHED:
        return _Body(frame.x, frame.y, radius * 0.97, pole)
    inner = draw_zona(
        canvas, rng, EmbryoCircle(frame.x, frame.y, radius), thickness, coarse, strength=1.0 - 0.4 * growth
    )
    body = _Body(frame.x, frame.y, inner * 0.985, pole)
    if expansion >= HATCHING:
        _bleb(canvas, rng, *body.at(exit_angle, body.radius), body.radius * (0.14 + 0.24 * (expansion - HATCHING)))
    return body


def _bleb(canvas: Canvas, rng: np.random.Generator, x: float, y: float, size: float) -> None:
    """Trophectoderm that has come out through a gap in the zona."""
    window, bleb = Outline.draw(rng, 1.15, 0.04).dome(canvas, x, y, size, size * 1.4)
    dx, dy = canvas.offsets(window, x, y)
    cells = np.zeros_like(bleb)
    for px, py in rng.standard_normal((9, 2)) * 0.5 * size:
        radius = size * rng.uniform(0.3, 0.55)
        cells = np.maximum(cells, radius * cap(((dx - px) ** 2 + (dy - py) ** 2) / np.float32(radius * radius)))
    canvas.sharp[window] += np.float32(0.4 * size) * bleb + 0.6 * cells * np.minimum(3 * bleb, 1)
    canvas.density[window] += np.float32(0.15) * bleb
    canvas.tissue[window] += 0.7 * bleb


def _cavity(canvas: Canvas, rng: np.random.Generator, expansion: float, body: _Body) -> Plane:
    """Where the blastocoel is, 0 to 1: opposite the inner cell mass, until it fills the embryo."""
    share = float(np.clip(0.26 + 0.18 * (expansion - 1), 0.26, 0.97))
    x, y = body.at(body.pole + np.pi, (0.93 - share) * body.radius)
    dx, dy = canvas.columns - np.float32(x), canvas.rows - np.float32(y)
    return smoothstep((1.0 - Outline.draw(rng, 1.06, 0.03).rho2(dx, dy, share * body.radius)) * 2.2)


def _filling(canvas: Canvas, rng: np.random.Generator, quality: float, body: _Body) -> Plane:
    """Cells seen from above: packed where there is no cavity, the far and near wall where there is."""
    surface = np.zeros_like(canvas.sharp)
    count = round(14 + 24 * quality)
    radii = body.radius * 1.45 / np.sqrt(count) * rng.uniform(0.60 + 0.25 * quality, 1.3 - 0.2 * quality, count)
    place = pack(rng, radii, body.radius)
    for i in np.argsort(place[:, 2]):
        x, y, radius = body.x + place[i, 0], body.y + place[i, 1], float(radii[i])
        outline = Outline.draw(rng, rng.uniform(1.0, 1.3), 0.04)
        window, dome = outline.dome(canvas, x, y, radius, radius * 1.2)
        height = np.float32(radius) * dome
        lifted = np.where(height > 0, height + np.float32(0.3 * max(place[i, 2], 0)), 0)
        surface[window] = np.maximum(surface[window], lifted)
    return surface


def _trophectoderm(canvas: Canvas, rng: np.random.Generator, quality: float, body: _Body, coarse: Plane) -> None:
    """Cells along the wall: many and even when good, few, long and uneven when poor."""
    count = round(7 + 17 * quality)
    unevenness = 0.5 * (1 - quality) + 0.05
    angles = (np.arange(count) + unevenness * rng.uniform(-1, 1, count)) * 2 * np.pi / count + rng.uniform(0, 6.3)
    wall = np.zeros_like(canvas.sharp)
    for angle in angles:
        long = np.pi * body.radius / count * rng.uniform(0.9, 1.45) * (1 + unevenness * rng.uniform(-0.5, 0.3))
        deep = body.radius * rng.uniform(0.06, 0.10) * (1 + unevenness * rng.uniform(-0.7, 0.9))
        x, y = body.at(angle, body.radius - 0.75 * deep)
        outline = Outline(max(long / deep, 0.2), float(angle + np.pi / 2), np.zeros((0, 2)))
        window, height = outline.dome(canvas, x, y, float(np.sqrt(long * deep)), max(long, deep) * 1.1)
        wall[window] = np.maximum(wall[window], np.float32(1.25 * deep) * height)
        canvas.density[window] += np.float32(0.2) * height
        canvas.tissue[window] += 0.4 * height
    canvas.sharp += wall * (1 + np.float32(0.06) * coarse)


def _inner_cell_mass(
    canvas: Canvas, rng: np.random.Generator, quality: float, body: _Body, fine: Plane, coarse: Plane
) -> None:
    """A clump against the wall: large and tight when good, few loose cells when poor."""
    size = body.radius * (0.16 + 0.22 * quality)
    x, y = body.at(body.pole, max(body.radius - 1.05 * size, 0) * rng.uniform(0.75, 1.0))
    loose = 1.35 - 0.65 * quality
    cos, sin = np.cos(body.pole), np.sin(body.pole)
    mound = np.zeros_like(canvas.sharp)
    for _ in range(round(5 + 15 * quality)):
        along, across = rng.standard_normal(2) * np.array([0.62, 0.36]) * loose * size
        cx, cy = x + across * cos - along * sin, y + across * sin + along * cos
        radius = size * rng.uniform(0.30, 0.42) * (1.2 - 0.3 * quality)
        window, dome = Outline.draw(rng, rng.uniform(1.0, 1.25), 0.03).dome(canvas, cx, cy, radius, radius * 1.2)
        mound[window] = np.maximum(mound[window], np.float32(radius) * dome)
    inside = smoothstep(mound / np.float32(0.1 * size))
    dx, dy = canvas.columns - np.float32(x), canvas.rows - np.float32(y)
    swelling = np.float32(0.75 * size) * np.exp((dx * dx + dy * dy) / np.float32(-0.7 * size * size))
    canvas.sharp += 0.8 * mound + swelling + inside * np.float32(0.02 * size) * (fine + 0.5 * coarse)
    canvas.density += inside * np.float32(0.10 + 0.22 * quality)
    canvas.tissue += inside
