"""Multi-Krum: the mean of the clinics' models with the lowest Krum scores. Examples do not count.

Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent", NeurIPS 2017,
https://papers.nips.cc/paper/6617, section 5. How many may be kept: El Mhamdi, Guerraoui and Rouault, "The Hidden
Vulnerability of Distributed Learning in Byzantium", ICML 2018, https://arxiv.org/abs/1802.07927, n - f - 2 at most.
"""

from pydantic import Field

from embryofl_server.federation.strategies.base import register
from embryofl_server.federation.strategies.krum import KrumSettings, MeanOfLowest


class MultiKrumSettings(KrumSettings):
    """`keep`: how many models are averaged (the paper's m); 0 keeps n - f - 2, the most that is safe."""

    keep: int = Field(default=0, ge=0, le=1000)


@register
class MultiKrum(MeanOfLowest[MultiKrumSettings]):
    SETTINGS = MultiKrumSettings

    @property
    def min_updates(self) -> int:
        """2f + 3, and enough to keep `keep` of them."""
        return max(super().min_updates, self._settings.keep + self._settings.attackers + 2)

    def keep(self, clinics: int) -> int:
        """As set, or all that are safe."""
        return self._settings.keep or clinics - self._settings.attackers - 2
