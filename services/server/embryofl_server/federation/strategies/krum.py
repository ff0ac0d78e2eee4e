"""Krum: the one clinic's model that lies closest to its nearest neighbours. Examples do not count.

Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent", NeurIPS 2017,
https://papers.nips.cc/paper/6617, section 4. Holds against f attackers among at least 2f + 3 clinics.
"""

from dataclasses import replace
from typing import ClassVar

import numpy as np
from pydantic import Field

from embryofl_server.federation.strategies.base import Aggregation, Round, State, StrategySettings
from embryofl_server.federation.strategies.blocks import inner_products, squared_distances, weighted_mean


class KrumSettings(StrategySettings):
    """`attackers`: how many clinics may lie (the paper's f)."""

    attackers: int = Field(default=1, ge=1, le=100)


def krum_scores(products: np.ndarray, attackers: int) -> np.ndarray:
    """Each update's sum of squared distances to its n - f - 2 nearest others, float64 (n,).

    Parameters
    ----------
    products : ndarray of float64, (n, n)
        Inner products of the updates.
    attackers : int
        The paper's f.
    """
    distances = squared_distances(products)
    np.fill_diagonal(distances, np.inf)
    distances.sort(axis=1)
    return np.asarray(distances[:, : len(products) - attackers - 2].sum(axis=1))


def mean_of_lowest(round_: Round, attackers: int, count: int) -> Aggregation:
    """The plain mean of the `count` updates with the lowest scores; of equals the first by name."""
    scores = krum_scores(inner_products(round_), attackers)
    chosen = sorted(np.argsort(scores, kind="stable")[:count].tolist())
    kept = replace(round_, updates=[round_.updates[i] for i in chosen])
    shares = {u.clinic: (1 / count if i in chosen else 0.0) for i, u in enumerate(round_.updates)}
    return Aggregation(weighted_mean(kept, [1.0] * count), shares=shares)


class Krum:
    """See `embryofl_server.federation.strategies.base.Strategy`."""

    NAME: ClassVar[str] = "krum"
    SETTINGS: ClassVar[type[StrategySettings]] = KrumSettings

    def __init__(self, settings: KrumSettings) -> None:
        self._attackers = settings.attackers

    @property
    def min_updates(self) -> int:
        """2f + 3."""
        return 2 * self._attackers + 3

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The model of the clinic with the lowest score."""
        return mean_of_lowest(round_, self._attackers, 1)
