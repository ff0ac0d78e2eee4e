"""The fixed bins in which scores are counted.

They are nearly equally wide in ``arcsin(sqrt(score))``, the scale on which a proportion has a constant standard error: at
most `BIN_WIDTH` (0.0061) wide in the middle and much finer near 0 and 1, where a confident network bunches its scores.
Every tenth is the edge of a bin, so that the ten bins of a reliability table and the usual thresholds lose nothing.
"""

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

BINS = 256
_PER_TENTH = (52, 23, 19, 17, 17, 17, 17, 19, 23, 52)
"""Bins in each tenth of the scores: `BINS` times its part of the arcsine scale, rounded."""


def _edges() -> FloatArray:
    tenths = np.arange(len(_PER_TENTH) + 1) / len(_PER_TENTH)
    angles = np.arcsin(np.sqrt(tenths))
    inside = [
        np.linspace(low, high, count, endpoint=False)
        for low, high, count in zip(angles, angles[1:], _PER_TENTH, strict=False)
    ]
    edges = np.sin(np.append(np.concatenate(inside), np.pi / 2)) ** 2
    edges[np.cumsum((0, *_PER_TENTH))] = tenths
    return np.asarray(edges, np.float64)


EDGES: FloatArray = _edges()
"""Edges of the bins, ascending from 0 to 1; bin ``i`` holds ``EDGES[i] <= score < EDGES[i + 1]`` (the last also 1)."""
CENTRES: FloatArray = (EDGES[:-1] + EDGES[1:]) / 2
BIN_WIDTH = float(np.diff(EDGES).max())

SCORE_FLOOR = 1e-7
"""Scores are kept this far from 0 and 1 when the logarithm is taken."""


def nearest_edge(threshold: float) -> int:
    """Index into `EDGES` of the edge nearest to a threshold in [0, 1]."""
    return int(np.argmin(np.abs(EDGES - threshold)))


def bin_of(scores: FloatArray) -> IntArray:
    """The bin of each score in [0, 1], int64 (n,)."""
    return np.asarray(np.minimum(np.searchsorted(EDGES, scores, side="right") - 1, BINS - 1), np.int64)


def logit(scores: FloatArray) -> FloatArray:
    """Log odds of scores, which are kept `SCORE_FLOOR` from 0 and 1."""
    kept = np.clip(scores, SCORE_FLOOR, 1 - SCORE_FLOOR)
    return np.asarray(np.log(kept / (1 - kept)), np.float64)


def expit(log_odds: FloatArray) -> FloatArray:
    """The score of log odds: ``1 / (1 + exp(-x))``, without overflow."""
    return np.asarray((1 + np.tanh(log_odds / 2)) / 2, np.float64)
