"""What lies around an embryo: debris, corona cells, the edge of the well or of the dish."""

import numpy as np

from .canvas import Canvas, Outline, cap, smoothstep
from .zona import EmbryoCircle


def draw_debris(canvas: Canvas, rng: np.random.Generator, amount: float, frame: EmbryoCircle, native: int) -> None:
    """Grains on the zona, specks in the medium and clumps of corona cells.

    Parameters
    ----------
    amount : float
        0 (clean) to 1.
    native : int
        Side of the sensor's image in pixels; sizes are shares of it.
    """
    _grains(canvas, rng, amount, frame, native)
    places = [
        (rng.uniform(0, canvas.side, 2), rng.uniform(0.002, 0.008) * native, rng.uniform(0.0, 0.35))
        for _ in range(int(rng.poisson(6 + 30 * amount)))
    ]
    for _ in range(int(rng.poisson(1.8 * amount))):
        turn = rng.uniform(0, 2 * np.pi)
        away = frame.radius * rng.uniform(1.05, 1.35)
        centre = np.array([frame.x + away * np.cos(turn), frame.y + away * np.sin(turn)])
        size, dark = rng.uniform(0.018, 0.04) * native, rng.uniform(0.05, 0.6)
        for _ in range(int(rng.integers(5, 26))):
            places.append((centre + rng.standard_normal(2) * size, rng.uniform(0.006, 0.02) * native, dark))
    for (x, y), radius, dark in places:
        blurred = rng.uniform() < 0.4
        outline = Outline.draw(rng, rng.uniform(1.0, 1.6), 0.05)
        if np.hypot(x - frame.x, y - frame.y) < frame.radius * 0.98:
            continue
        window, height = outline.dome(canvas, x, y, radius, radius * 1.6)
        layer = canvas.far if blurred else canvas.sharp
        layer[window] += np.float32(radius) * height
        canvas.density[window] += np.float32(dark) * height


def _grains(canvas: Canvas, rng: np.random.Generator, amount: float, frame: EmbryoCircle, native: int) -> None:
    """Remains of the corona on the outer face of the zona."""
    count = int(rng.poisson(40 + 120 * amount))
    turns = rng.uniform(0, 2 * np.pi, count)
    distances = frame.radius * (1.0 + 0.16 * rng.uniform(size=count) ** 1.5)
    radii = rng.uniform(0.002, 0.0045, count) * native
    xs, ys = frame.x + distances * np.cos(turns), frame.y + distances * np.sin(turns)
    for x, y, radius in zip(xs.tolist(), ys.tolist(), radii.tolist(), strict=True):
        window = canvas.window(x, y, radius * 1.5)
        dx, dy = canvas.offsets(window, x, y)
        canvas.sharp[window] += np.float32(0.5 * radius) * cap((dx * dx + dy * dy) / np.float32(radius * radius))


def draw_well(canvas: Canvas, rng: np.random.Generator, native: int) -> None:
    """Edge of a time-lapse dish's well: a bright crescent, ripples and darkness beyond."""
    radius = native * rng.uniform(0.455, 0.485)
    x, y = canvas.side / 2 + rng.uniform(-0.02, 0.02, 2) * native
    dx, dy = canvas.columns - np.float32(x), canvas.rows - np.float32(y)
    distance = np.sqrt(dx * dx + dy * dy) / np.float32(radius)
    upward = smoothstep(0.5 - 0.75 * dy / np.float32(radius))
    beyond = smoothstep((distance - 1.02) * 18)
    ring = np.exp(-(((distance - 1.0) / np.float32(0.05)) ** 2))
    ripples = np.exp(-np.maximum(distance - 1.05, 0) * 5) * np.sin(distance * np.float32(rng.uniform(120, 170)))
    canvas.density += beyond * (2.9 - 2.3 * upward + 0.22 * ripples) - ring * (0.1 + 0.8 * upward)


def draw_dish_edge(canvas: Canvas, rng: np.random.Generator, native: int) -> None:
    """A scratch or the edge of the dish, straight across a corner of the image."""
    turn = rng.uniform(0, 2 * np.pi)
    distance = native * rng.uniform(0.47, 0.56)
    half = np.float32(canvas.side / 2)
    along = (canvas.columns - half) * np.float32(np.cos(turn)) + (canvas.rows - half) * np.float32(np.sin(turn))
    step = smoothstep((along - np.float32(distance)) / np.float32(0.012 * native) + 0.5)
    canvas.sharp += np.float32(0.02 * native) * step
    canvas.density += np.float32(0.12) * step
