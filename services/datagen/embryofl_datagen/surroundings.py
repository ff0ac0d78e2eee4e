"""What lies around an embryo: debris, corona cells, the edge of the well."""

import numpy as np

from .canvas import Canvas, Outline, cap, smoothstep
from .zona import Frame


def draw_debris(canvas: Canvas, rng: np.random.Generator, amount: float, frame: Frame, native: int) -> None:
    """Specks and clumps of corona cells outside the zona."""
    for _ in range(int(rng.poisson(40 + 120 * amount))):
        turn, distance = rng.uniform(0, 2 * np.pi), frame.radius * (1.0 + 0.16 * rng.uniform() ** 1.5)
        x, y, radius = frame.x + distance * np.cos(turn), frame.y + distance * np.sin(turn), rng.uniform(0.002, 0.0045) * native
        window = canvas.window(x, y, radius * 1.5)
        if window is None:
            continue
        dx, dy = canvas.offsets(window, x, y)
        canvas.sharp[window] += np.float32(0.5 * radius) * cap((dx * dx + dy * dy) / np.float32(radius * radius))
    specks = int(rng.poisson(6 + 30 * amount))
    clumps = int(rng.poisson(1.6 * amount))
    places = [(rng.uniform(0, canvas.side, 2), rng.uniform(0.002, 0.008) * native) for _ in range(specks)]
    for _ in range(clumps):
        turn = rng.uniform(0, 2 * np.pi)
        centre = np.array([frame.x, frame.y]) + frame.radius * rng.uniform(1.05, 1.35) * np.array(
            [np.cos(turn), np.sin(turn)]
        )
        for _ in range(int(rng.integers(5, 22))):
            places.append((centre + rng.standard_normal(2) * 0.03 * native, rng.uniform(0.006, 0.02) * native))
    for (x, y), radius in places:
        near = np.hypot(x - frame.x, y - frame.y) < frame.radius * 0.98
        blurred = rng.uniform() < 0.4
        dark = rng.uniform(0.0, 0.35)
        outline = Outline.draw(rng, rng.uniform(1.0, 1.6), 0.05)
        window = canvas.window(x, y, radius * 1.6)
        if near or window is None:
            continue
        dx, dy = canvas.offsets(window, x, y)
        height = cap(outline.rho2(dx, dy, radius))
        layer = canvas.far if blurred else canvas.sharp
        layer[window] += np.float32(radius) * height
        canvas.density[window] += np.float32(dark) * height


def draw_well(canvas: Canvas, rng: np.random.Generator, native: int) -> None:
    """Edge of a time-lapse dish's well: a bright crescent, darkness beyond."""
    radius = native * rng.uniform(0.455, 0.485)
    x, y = canvas.side / 2 + rng.uniform(-0.02, 0.02, 2) * native
    dx, dy = canvas.columns - np.float32(x), canvas.rows - np.float32(y)
    distance = np.sqrt(dx * dx + dy * dy) / np.float32(radius)
    upward = smoothstep(0.5 - 0.75 * dy / np.float32(radius))
    beyond = smoothstep((distance - 1.02) * 18)
    ring = np.exp(-(((distance - 1.0) / np.float32(0.05)) ** 2))
    ripples = np.exp(-np.maximum(distance - 1.05, 0) * 5) * np.sin(distance * np.float32(rng.uniform(120, 170)))
    canvas.density += beyond * (2.9 - 2.3 * upward + 0.22 * ripples) - ring * (0.1 + 0.8 * upward)
