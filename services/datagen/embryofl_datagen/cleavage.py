"""Day-3 embryos: blastomeres in a zona pellucida, with fragments."""

import numpy as np
from numpy.typing import NDArray

from .canvas import Canvas, Outline, Plane, cap, smoothstep
from .cohort import Morphology
from .packing import Points, pack
from .zona import EmbryoCircle, draw_zona

# Share of the room inside the zona that blastomeres and fragments fill.
FULLNESS = 0.80


Relief = tuple[Plane, Plane]
"""What is seen of the cells from above (the surface), and their thickness along the light (the chords), in pixels."""


def draw_cleavage(
    canvas: Canvas, rng: np.random.Generator, morphology: Morphology, frame: EmbryoCircle, textures: list[Plane]
) -> None:
    """Draw a cleavage-stage embryo of the given morphology into the frame.

    Parameters
    ----------
    textures : list of 3 float32 arrays
        Fine, coarse and broad, each of the canvas's shape.
    """
    fine, coarse, _ = textures
    inner = draw_zona(canvas, rng, frame, rng.uniform(0.15, 0.20), coarse)
    room = inner * rng.uniform(0.93, 0.99)
    radii = _radii(rng, morphology, room)
    place = pack(rng, radii, room)
    relief = surface, chords = np.zeros_like(canvas.sharp), np.zeros_like(canvas.sharp)
    for i in np.argsort(place[:, 2]):
        _blastomere(canvas, rng, frame, place[i], float(radii[i]), relief)
    _fragments(canvas, rng, frame, morphology.fragmentation, room, relief)

    inside = smoothstep(chords / np.float32(0.25 * room))
    grain = np.float32(0.003 + 0.020 * morphology.darkness) * coarse + np.float32(0.010) * fine
    grain += np.float32(0.012 + 0.012 * morphology.darkness) * np.maximum(fine - 1.2, 0)
    canvas.sharp += 0.50 * surface + 0.30 * chords + inside * grain * np.float32(0.55 * room)
    canvas.density += inside * np.float32(0.05 + 0.30 * morphology.darkness) * (1 + 0.35 * coarse)
    canvas.density += 0.05 * chords / np.float32(room)
    canvas.tissue += inside


def _radii(rng: np.random.Generator, morphology: Morphology, room: float) -> NDArray[np.float64]:
    """Radii in pixels with the coefficient of variation of the morphology, filling what fragments leave."""
    n = morphology.cells
    spread = rng.permutation(np.linspace(-1.5, 1.5, n)) + 0.2 * rng.standard_normal(n)
    relative = np.clip(1 + morphology.asymmetry * spread, 0.35, 2.0)
    volume = FULLNESS * (1 - morphology.fragmentation) * room**3
    return np.asarray(relative * np.cbrt(volume / (relative**3).sum()), np.float64)


def _blastomere(
    canvas: Canvas, rng: np.random.Generator, frame: EmbryoCircle, place: Points, radius: float, relief: Relief
) -> None:
    surface, chords = relief
    x, y = frame.x + place[0], frame.y + place[1]
    outline = Outline.draw(rng, rng.uniform(1.0, 1.14), 0.02)
    nucleus = rng.uniform() < 0.3
    nx, ny = rng.uniform(-0.3, 0.3, 2) * radius
    window, dome = outline.dome(canvas, x, y, radius, radius * 1.35)
    height = np.float32(radius) * dome
    if nucleus:
        size, (dx, dy) = 0.27 * radius, canvas.offsets(window, x, y)
        height -= np.float32(0.25 * size) * cap(((dx - nx) ** 2 + (dy - ny) ** 2) / np.float32(size * size))
    # The nearer cell hides the border of the one behind it.
    lifted = np.where(height > 0, height + np.float32(0.45 * max(place[2], -0.4 * radius)), 0)
    surface[window] = np.maximum(surface[window], lifted)
    chords[window] += height


def _fragments(
    canvas: Canvas, rng: np.random.Generator, frame: EmbryoCircle, share: float, room: float, relief: Relief
) -> None:
    """Anucleate fragments in three clusters, more and larger as their share of the volume grows."""
    surface, chords = relief
    centres = rng.standard_normal((3, 2))
    centres *= rng.uniform(0.35, 0.8, (3, 1)) / np.hypot(centres[:, :1], centres[:, 1:])
    for _ in range(int(rng.poisson(1 + 130 * share))):
        px, py = centres[rng.integers(3)] + rng.standard_normal(2) * (0.16 + 0.35 * share)
        radius = room * rng.uniform(0.035, 0.075 + 0.11 * share)
        shrink = room * min(1.0, (1 - radius / room) / (np.hypot(px, py) + 1e-9))
        x, y = frame.x + px * shrink, frame.y + py * shrink
        outline = Outline.draw(rng, rng.uniform(1.0, 1.3), 0.03)
        levelling = np.float32(rng.uniform(0.15, 0.5))
        window, dome = outline.dome(canvas, x, y, radius, radius * 1.3)
        height, behind = np.float32(radius) * dome, surface[window]
        on_top = behind + levelling * (behind.mean() - behind) + np.float32(1.7) * height
        surface[window] = np.where(height > 0, on_top, behind)
        chords[window] += np.float32(0.8) * height
