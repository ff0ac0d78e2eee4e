"""Cells as spheres that push each other apart inside the zona."""

import numpy as np
from numpy.typing import NDArray

# Keeps cells near the plane of focus, where they are seen side by side.
_FLATNESS = 0.985
# Distance of two neighbours' centres in shares of the sum of their radii: cells flatten against each other.
_TOUCHING = 0.80
_STEPS = 50

Points = NDArray[np.float64]


def pack(rng: np.random.Generator, radii: NDArray[np.float64], room: float) -> Points:
    """Positions (n, 3) of spheres inside a sphere of radius `room` around the origin, hardly overlapping."""
    n = len(radii)
    place = rng.standard_normal((n, 3))
    place *= ((room - radii) / np.sqrt((place**2).sum(axis=1)))[:, None]
    wanted = _TOUCHING * (radii[:, None] + radii[None, :]) * (1 - np.eye(n))
    limit = np.maximum(room - radii, 0.01 * room)
    for _ in range(_STEPS):
        apart = place[:, None] - place[None, :]
        distance = np.sqrt((apart**2).sum(axis=2)) + 1e-9
        push = 0.4 * np.maximum(wanted - distance, 0) / distance
        place = 1.04 * place + (apart * push[..., None]).sum(axis=1)
        place *= np.minimum(1, limit / (np.sqrt((place**2).sum(axis=1)) + 1e-9))[:, None]
        place[:, 2] *= _FLATNESS
    weight = radii[:, None] ** 3
    place -= (weight * place).sum(axis=0) / weight.sum()
    reach = np.hypot(place[:, 0], place[:, 1])
    return place * float(np.clip((limit / np.maximum(reach, 1e-9)).min(), 0.8, 1.25))
