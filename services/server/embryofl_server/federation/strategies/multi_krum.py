"""Multi-Krum: the mean of the clinics' models with the lowest Krum scores. Examples do not count.

Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent", NeurIPS 2017,
https://papers.nips.cc/paper/6617, section 5. How many may be kept: El Mhamdi, Guerraoui and Rouault, "The Hidden
Vulnerability of Distributed Learning in Byzantium", ICML 2018, https://arxiv.org/abs/1802.07927, n - f - 2 at most.
"""

from typing import ClassVar

from pydantic import Field

from embryofl_server.federation.strategies.base import Aggregation, Round, State, StrategySettings
from embryofl_server.federation.strategies.krum import KrumSettings, mean_of_lowest


class MultiKrumSettings(KrumSettings):
    """`keep`: how many models are averaged (the paper's m); 0 keeps n - f - 2, the most that is safe."""

    keep: int = Field(default=0, ge=0, le=1000)


class MultiKrum:
    """See `embryofl_server.federation.strategies.base.Strategy`."""

    NAME: ClassVar[str] = "multi_krum"
    SETTINGS: ClassVar[type[StrategySettings]] = MultiKrumSettings

    def __init__(self, settings: MultiKrumSettings) -> None:
        self._attackers, self._keep = settings.attackers, settings.keep

    @property
    def min_updates(self) -> int:
        """2f + 3, and enough to keep `keep` of them."""
        return max(2 * self._attackers + 3, self._keep + self._attackers + 2)

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The mean of the models with the lowest scores."""
        most = len(round_.updates) - self._attackers - 2
        return mean_of_lowest(round_, self._attackers, self._keep or most)
