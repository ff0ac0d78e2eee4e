"""Metrics as sums over many embryos: what may leave a clinic (`sums`, `ranking`), and what the hub computes from it."""

from embryofl.metrics.bins import BIN_WIDTH, BINS, CENTRES, EDGES, SCORE_FLOOR, FloatArray, IntArray, nearest_edge
from embryofl.metrics.day import DaySums
from embryofl.metrics.from_histogram import CALIBRATION_BINS, Metrics
from embryofl.metrics.ranking import RankingSums
from embryofl.metrics.sums import SMALLEST_COUNT, ScoredEmbryos, ScoreSums, merge

__all__ = [
    "BINS",
    "BIN_WIDTH",
    "CALIBRATION_BINS",
    "CENTRES",
    "EDGES",
    "SCORE_FLOOR",
    "SMALLEST_COUNT",
    "DaySums",
    "FloatArray",
    "IntArray",
    "Metrics",
    "RankingSums",
    "ScoreSums",
    "ScoredEmbryos",
    "merge",
    "nearest_edge",
]
