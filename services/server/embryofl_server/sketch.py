"""Distances between models without keeping them: a small linear sketch of each.

An update is deleted once it is summed, so its distance from the aggregate, known only afterwards, is estimated from
sketches: the flat model is cut into rows of `COLUMNS` numbers, and the rows are added up with random signs. The expected
square of a difference of two sketches is the squared distance of the models; its relative error is about
``sqrt(2 / COLUMNS)``, 2 %.

Charikar, Chen and Farach-Colton, "Finding frequent items in data streams" (count sketch), ICALP 2002, with the column as
the hash and one sign a row.
"""

from pathlib import Path

import numpy as np

from embryofl.wire import Layout

COLUMNS = 4096
_SEED = 20_020  # any: the same for all sketches that are to be compared
_ROWS = 256  # rows added at a time: 8 MB of float64


def sketch(packed: np.ndarray, layout: Layout) -> np.ndarray:
    """Sketch of the floating-point tensors of a packed model: float64 ``(COLUMNS,)``."""
    signs = np.random.default_rng(_SEED)
    total = np.zeros(COLUMNS)
    for part in layout.section_views(packed):
        if part.dtype.kind != "f":
            continue
        for at in range(0, part.size, _ROWS * COLUMNS):
            block = part[at : at + _ROWS * COLUMNS].astype(np.float64)
            block = np.pad(block, (0, -block.size % COLUMNS)).reshape(-1, COLUMNS)
            total += signs.choice((-1.0, 1.0), len(block)) @ block
    return total


def sketch_file(path: Path, layout: Layout) -> np.ndarray:
    """Sketch of a packed model in a file."""
    return sketch(np.memmap(path, np.uint8, "r"), layout)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Estimated Euclidean distance of the two models that were sketched."""
    return float(np.linalg.norm(one - other))
