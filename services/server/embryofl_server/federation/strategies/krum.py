"""Krum: the one clinic's model that lies closest to its nearest neighbours. Examples do not count.

Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent", NeurIPS 2017,
https://papers.nips.cc/paper/6617, section 4. Holds against f attackers among at least 2f + 3 clinics.
"""

from abc import abstractmethod
from dataclasses import replace
from typing import TypeVar

import numpy as np
from pydantic import Field

from embryofl_server.federation.strategies.base import Aggregation, Round, State, Strategy, StrategySettings, register
from embryofl_server.federation.strategies.blocks import averaged, inner_products


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
    norms = np.diag(products)
    distances = np.maximum(norms[:, None] + norms[None, :] - 2 * products, 0.0)
    np.fill_diagonal(distances, np.inf)
    distances.sort(axis=1)
    return np.asarray(distances[:, : len(products) - attackers - 2].sum(axis=1))


K = TypeVar("K", bound=KrumSettings)


class MeanOfLowest(Strategy[K]):
    """The plain mean of the updates with the lowest scores; among equals the first by name."""

    group_weights = "examples"

    @property
    def min_updates(self) -> int:
        """2f + 3."""
        return 2 * self._settings.attackers + 3

    @abstractmethod
    def keep(self, clinics: int) -> int:
        """How many of this many clinics' updates are averaged."""

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The mean of the models with the lowest scores."""
        scores, count = krum_scores(inner_products(round_), self._settings.attackers), self.keep(len(round_.updates))
        chosen = sorted(np.argsort(scores, kind="stable")[:count].tolist())
        made = averaged(replace(round_, updates=[round_.updates[i] for i in chosen]), [1.0] * count)
        return replace(made, shares={u.clinic: made.shares.get(u.clinic, 0.0) for u in round_.updates})


@register
class Krum(MeanOfLowest[KrumSettings]):
    SETTINGS = KrumSettings

    def keep(self, clinics: int) -> int:
        """The one with the lowest score."""
        return 1
