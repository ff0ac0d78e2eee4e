"""Day-5 embryos: a cavity within trophectoderm, with an inner cell mass, growing out of its zona."""

import numpy as np

from .canvas import Canvas, Outline, Plane, cap, smoothstep
from .cleavage import pack
from .cohort import Morphology
from .zona import Frame, draw_zona


def draw_blastocyst(
    canvas: Canvas, rng: np.random.Generator, morphology: Morphology, frame: Frame, textures: list[Plane]
) -> None:
    """Draw a blastocyst of the given morphology into the frame."""
    fine, coarse, broad = textures
    growth = float(np.clip((morphology.expansion - 2.5) / 3.0, 0, 1))
    thickness = 0.17 - 0.125 * growth + rng.uniform(-0.01, 0.01)
    outer = Frame(frame.x, frame.y, frame.radius * (0.88 + 0.16 * growth))
    inner = draw_zona(canvas, rng, outer, thickness, coarse, strength=1.0 - 0.4 * growth)
    body = inner * 0.985
    surface = np.zeros_like(canvas.sharp)
    dx, dy = canvas.columns - np.float32(frame.x), canvas.rows - np.float32(frame.y)
    outline = Outline.draw(rng, rng.uniform(1.0, 1.05), 0.008)
    rho2 = outline.rho2(dx, dy, body)
    inside = smoothstep((1 - rho2) * 12)
    canvas.sharp += np.float32(0.20 * body) * cap(rho2)

    cavity = float(np.clip(0.26 + 0.18 * (morphology.expansion - 1), 0.26, 0.97))
    pole = rng.uniform(0, 2 * np.pi)
    shift = (0.93 - cavity) * body
    cx, cy = frame.x - shift * np.cos(pole), frame.y - shift * np.sin(pole)
    hollow = Outline.draw(rng, 1.06, 0.03)
    hx, hy = canvas.columns - np.float32(cx), canvas.rows - np.float32(cy)
    hole = smoothstep((1.0 - hollow.rho2(hx, hy, cavity * body)) * 2.2)

    _filling(canvas, rng, morphology.te, frame, body, surface)
    solid = inside * (1 - hole)
    canvas.sharp += surface * (0.75 - 0.62 * hole)
    canvas.sharp += inside * hole * np.float32(0.013 * body) * broad
    _trophectoderm(canvas, rng, morphology.te, frame, body, coarse, cavity)
    _inner_cell_mass(canvas, rng, morphology.icm, frame, body, pole, fine, coarse, cavity)
    grain = np.float32(0.004 + 0.02 * morphology.darkness) * coarse + np.float32(0.010) * fine
    grain += np.float32(0.012) * np.maximum(fine - 1.2, 0)
    canvas.sharp += solid * grain * np.float32(0.5 * body)
    canvas.density += solid * np.float32(0.10 + 0.26 * morphology.darkness) * (1 + 0.3 * coarse)
    canvas.tissue += inside * (0.35 + 0.65 * (1 - hole))


def _filling(
    canvas: Canvas, rng: np.random.Generator, te: float, frame: Frame, body: float, surface: Plane
) -> None:
    """Closely packed small cells, seen where the cavity is not."""
    n = round(14 + 24 * te)
    radii = body * 1.45 / np.sqrt(n) * rng.uniform(0.85 - 0.25 * (1 - te), 1.1 + 0.2 * (1 - te), n)
    place = pack(rng, radii, body)
    for i in np.argsort(place[:, 2]):
        x, y, radius = frame.x + place[i, 0], frame.y + place[i, 1], float(radii[i])
        window = canvas.window(x, y, radius * 1.2)
        outline = Outline.draw(rng, rng.uniform(1.0, 1.3), 0.04)
        if window is None:
            continue
        dx, dy = canvas.offsets(window, x, y)
        height = np.float32(radius) * cap(outline.rho2(dx, dy, radius))
        lifted = np.where(height > 0, height + np.float32(0.3 * max(place[i, 2], 0)), 0)
        surface[window] = np.maximum(surface[window], lifted)


def _trophectoderm(
    canvas: Canvas,
    rng: np.random.Generator,
    quality: float,
    frame: Frame,
    body: float,
    coarse: Plane,
    cavity: float,
) -> None:
    """Cells along the wall: many and even when good, few, long and uneven when poor."""
    count = round(7 + 17 * quality)
    unevenness = 0.5 * (1 - quality) + 0.05
    angles = (np.arange(count) + unevenness * rng.uniform(-1, 1, count)) * 2 * np.pi / count + rng.uniform(0, 6.3)
    wall = np.zeros_like(canvas.sharp)
    for angle in angles:
        long = np.pi * body / count * rng.uniform(0.9, 1.45) * (1 + unevenness * rng.uniform(-0.5, 0.3))
        deep = body * rng.uniform(0.06, 0.10) * (1 + unevenness * rng.uniform(-0.7, 0.9))
        radius = body - 0.75 * deep
        x, y = frame.x + radius * np.cos(angle), frame.y + radius * np.sin(angle)
        size = float(np.sqrt(long * deep))
        outline = Outline(max(long / deep, 0.2), float(angle + np.pi / 2), np.zeros((0, 2)))
        window = canvas.window(x, y, max(long, deep) * 1.1)
        if window is None:
            continue
        dx, dy = canvas.offsets(window, x, y)
        height = cap(outline.rho2(dx, dy, size))
        wall[window] = np.maximum(wall[window], np.float32(1.25 * deep) * height)
        canvas.density[window] += np.float32(0.2) * height
        canvas.tissue[window] += 0.4 * height
    canvas.sharp += wall * (1 + np.float32(0.06) * coarse)
    # Cells of the near and far wall, seen from above: faint.
    for _ in range(count):
        px, py = rng.standard_normal(2) * 0.42 * body
        if np.hypot(px, py) > 0.8 * body:
            continue
        radius = body * 0.75 / np.sqrt(count) * rng.uniform(0.8, 1.3)
        window = canvas.window(frame.x + px, frame.y + py, radius * 1.6)
        outline = Outline.draw(rng, rng.uniform(1.1, 1.9), 0.05)
        if window is None:
            continue
        dx, dy = canvas.offsets(window, frame.x + px, frame.y + py)
        canvas.far[window] += np.float32(0.16 * radius) * cap(outline.rho2(dx, dy, radius))


def _inner_cell_mass(
    canvas: Canvas,
    rng: np.random.Generator,
    quality: float,
    frame: Frame,
    body: float,
    pole: float,
    fine: Plane,
    coarse: Plane,
    cavity: float,
) -> None:
    """A clump against the wall: large and tight when good, few loose cells when poor."""
    size = body * (0.16 + 0.22 * quality)
    distance = max(body - 1.05 * size, 0) * rng.uniform(0.75, 1.0)
    x, y = frame.x + distance * np.cos(pole), frame.y + distance * np.sin(pole)
    count = round(5 + 15 * quality)
    loose = 1.35 - 0.65 * quality
    mound = np.zeros_like(canvas.sharp)
    for _ in range(count):
        along, across = rng.standard_normal(2) * np.array([0.62, 0.36]) * loose * size
        px, py = across * np.cos(pole) - along * np.sin(pole), across * np.sin(pole) + along * np.cos(pole)
        radius = size * rng.uniform(0.30, 0.42) * (1.2 - 0.3 * quality)
        window = canvas.window(x + px, y + py, radius * 1.2)
        outline = Outline.draw(rng, rng.uniform(1.0, 1.25), 0.03)
        if window is None:
            continue
        dx, dy = canvas.offsets(window, x + px, y + py)
        height = np.float32(radius) * cap(outline.rho2(dx, dy, radius))
        mound[window] = np.maximum(mound[window], height)
    inside = smoothstep(mound / np.float32(0.1 * size + 1e-6))
    dx0, dy0 = canvas.columns - np.float32(x), canvas.rows - np.float32(y)
    dome = np.float32(0.75 * size) * np.exp((dx0 * dx0 + dy0 * dy0) / np.float32(-0.7 * size * size))
    canvas.sharp += 0.8 * mound + dome + inside * np.float32(0.02 * size) * (fine + 0.5 * coarse)
    canvas.density += inside * np.float32(0.10 + 0.22 * quality)
    canvas.tissue += inside
