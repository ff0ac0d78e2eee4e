"""Day-3 embryos: blastomeres in a zona pellucida, with fragments."""

import numpy as np
from numpy.typing import NDArray

from .canvas import Canvas, Outline, Plane, cap, smoothstep
from .cohort import Morphology
from .zona import Frame, draw_zona

# Share of the room inside the zona that blastomeres and fragments fill.
PACKING = 0.80
# Keeps blastomeres near the plane of focus, where they are seen side by side.
FLATNESS = 0.985

Points = NDArray[np.float64]


def pack(rng: np.random.Generator, radii: NDArray[np.float64], room: float) -> Points:
    """Positions (n, 3) of spheres pushed apart until they hardly overlap, inside a sphere of radius `room`."""
    n = len(radii)
    place = rng.standard_normal((n, 3))
    place *= (room - radii)[:, None] / np.linalg.norm(place, axis=1, keepdims=True)
    wanted = 0.80 * (radii[:, None] + radii[None, :])
    for _ in range(60):
        apart = place[:, None] - place[None, :]
        distance = np.sqrt((apart**2).sum(axis=2)) + np.eye(n) + 1e-9
        overlap = np.maximum(wanted - distance, 0) * (1 - np.eye(n))
        place = 1.04 * place + 0.4 * (apart / distance[..., None] * overlap[..., None]).sum(axis=1)
        length = np.linalg.norm(place, axis=1)
        place *= np.minimum(1, np.maximum(room - radii, 0.01) / np.maximum(length, 1e-9))[:, None]
        place[:, 2] *= FLATNESS
    weight = radii[:, None] ** 3
    place -= (weight * place).sum(axis=0) / weight.sum()
    reach = np.hypot(place[:, 0], place[:, 1])
    return place * float(np.clip(((room - radii) / np.maximum(reach, 1e-9)).min(), 0.8, 1.25))


def draw_cleavage(
    canvas: Canvas, rng: np.random.Generator, morphology: Morphology, frame: Frame, textures: list[Plane]
) -> None:
    """Draw a cleavage-stage embryo of the given morphology into the frame."""
    fine, coarse, _ = textures
    inner = draw_zona(canvas, rng, frame, thickness=rng.uniform(0.15, 0.20), texture=coarse)
    room = inner * rng.uniform(0.93, 0.99)
    n = morphology.cells
    spread = rng.permutation(np.linspace(-1.5, 1.5, n)) + 0.2 * rng.standard_normal(n)
    relative = np.clip(1 + morphology.asymmetry * spread, 0.35, 2.0)
    volume = PACKING * (1 - morphology.fragmentation) * room**3
    radii = relative * (volume / (relative**3).sum()) ** (1 / 3)
    place = pack(rng, radii, room)
    order = np.argsort(place[:, 2])
    surface = np.zeros_like(canvas.sharp)
    chords = np.zeros_like(canvas.sharp)
    for i in order:
        _blastomere(canvas, rng, frame, place[i], float(radii[i]), surface, chords)
    _fragments(canvas, rng, frame, morphology.fragmentation, room, surface, chords)
    inside = smoothstep(chords / np.float32(0.25 * room))
    grain = np.float32(0.003 + 0.020 * morphology.darkness) * coarse + np.float32(0.010) * fine
    grain += np.float32(0.012 + 0.012 * morphology.darkness) * np.maximum(fine - 1.2, 0)
    canvas.sharp += 0.50 * surface + 0.30 * chords + inside * grain * np.float32(0.55 * room)
    canvas.density += inside * np.float32(0.05 + 0.30 * morphology.darkness) * (1 + 0.35 * coarse)
    canvas.density += 0.05 * chords / np.float32(room)
    canvas.tissue += inside


def _blastomere(
    canvas: Canvas,
    rng: np.random.Generator,
    frame: Frame,
    place: Points,
    radius: float,
    surface: Plane,
    chords: Plane,
) -> None:
    x, y = frame.x + place[0], frame.y + place[1]
    window = canvas.window(x, y, radius * 1.35)
    outline = Outline.draw(rng, rng.uniform(1.0, 1.14), 0.02)
    nucleus = rng.uniform() < 0.3
    nx, ny = rng.uniform(-0.3, 0.3, 2) * radius
    if window is None:
        return
    dx, dy = canvas.offsets(window, x, y)
    height = np.float32(radius) * cap(outline.rho2(dx, dy, radius))
    if nucleus:
        size = 0.27 * radius
        height -= np.float32(0.25 * size) * cap(((dx - nx) ** 2 + (dy - ny) ** 2) / np.float32(size * size))
    # The nearer cell hides the border of the one behind it.
    lifted = np.where(height > 0, height + np.float32(0.45 * max(place[2], -0.4 * radius)), 0)
    surface[window] = np.maximum(surface[window], lifted)
    chords[window] += height


def _fragments(
    canvas: Canvas,
    rng: np.random.Generator,
    frame: Frame,
    share: float,
    room: float,
    surface: Plane,
    chords: Plane,
) -> None:
    count = int(rng.poisson(1 + 130 * share))
    centres = rng.standard_normal((3, 2))
    centres *= rng.uniform(0.35, 0.8, (3, 1)) / np.linalg.norm(centres, axis=1, keepdims=True)
    for _ in range(count):
        px, py = centres[rng.integers(3)] + rng.standard_normal(2) * (0.16 + 0.35 * share)
        radius = room * rng.uniform(0.035, 0.075 + 0.11 * share)
        length = np.hypot(px, py)
        shrink = min(1.0, (1 - radius / room) / (length + 1e-9))
        x, y = frame.x + px * shrink * room, frame.y + py * shrink * room
        window = canvas.window(x, y, radius * 1.3)
        outline = Outline.draw(rng, rng.uniform(1.0, 1.3), 0.03)
        level = rng.uniform(0.15, 0.5)
        if window is None:
            continue
        dx, dy = canvas.offsets(window, x, y)
        height = np.float32(radius) * cap(outline.rho2(dx, dy, radius))
        behind = surface[window]
        surface[window] = np.where(height > 0, np.float32(level) * behind.mean() + (1 - level) * behind + 1.7 * height, behind)
        chords[window] += 0.8 * height
