"""Geometric median of the clinics' models by the smoothed Weiszfeld algorithm (RFA). Examples do not count.

Pillutla, Kakade and Harchaoui, "Robust Aggregation for Federated Learning", IEEE Transactions on Signal Processing 70
(2022), https://arxiv.org/abs/1912.13445, algorithm 2. Holds against fewer than half of the clinics. Unlike there, all
clinics weigh the same: otherwise one clinic that reported very many embryos would be a majority.

Every iterate is a weighted mean of the updates, so the iterations need the updates' inner products only: two passes over
the files, however many iterations.
"""

import numpy as np
from pydantic import Field

from embryofl_server.federation.strategies.base import Aggregation, Round, State, Strategy, StrategySettings, register
from embryofl_server.federation.strategies.blocks import averaged, inner_products


class GeometricMedianSettings(StrategySettings):
    """`iterations`: of Weiszfeld's algorithm (the paper makes 3; more cost next to nothing here). `smoothing`: the paper's
    nu, a distance."""

    iterations: int = Field(default=100, ge=1, le=1000)
    smoothing: float = Field(default=1e-6, gt=0, le=1)


def weiszfeld(products: np.ndarray, iterations: int, smoothing: float) -> np.ndarray:
    """Weights of the updates in their geometric median, float64 (n,), sum 1.

    Parameters
    ----------
    products : ndarray of float64, (n, n)
        Inner products of the updates.
    """
    clinics = len(products)
    weights = np.full(clinics, 1 / clinics)
    for _ in range(iterations):
        towards = products @ weights
        squared = np.diag(products) - 2 * towards + weights @ towards
        nearness = 1 / np.maximum(np.sqrt(np.maximum(squared, 0.0)), smoothing)
        weights = nearness / nearness.sum()
    return weights


@register
class GeometricMedian(Strategy[GeometricMedianSettings]):
    """Between two updates every point is a median."""

    SETTINGS = GeometricMedianSettings
    min_updates = 3
    group_weights = "examples"

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The mean with Weiszfeld's weights."""
        s = self._settings
        return averaged(round_, weiszfeld(inner_products(round_), s.iterations, s.smoothing).tolist())
