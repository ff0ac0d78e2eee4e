"""FedEmbryo's hierarchical dynamic weighting, at the level of clinics: whose loss falls slowly counts for more.

Wang et al., "Federated task-adaptive learning for personalized selection of human IVF-derived embryos", Communications
Medicine 2025, https://doi.org/10.1038/s43856-025-01182-1. The formula is that of the authors' published program
(github.com/TianrunGaoBupt/FedEmbryo, read, not copied): in the first two rounds the plain mean; then clinic i weighs
exp(r_i / T) / sum_j exp(r_j / T) with r_i its training loss in the round before over that of the round before; T = 4.
Examples do not count. A clinic whose loss is not known for two rounds has r = 1; one that missed rounds keeps its newest
two. Between tasks (the label and the Gardner grades, where the run's `grades` is above 0 and the clinic has them) it is the
same formula inside each clinic, over its local epochs, times the number of tasks: `embryofl.weighting`. The losses for that
stay at the clinic (`embryofl_clinic.workload.task_losses`).
"""

import numpy as np
from pydantic import Field

from embryofl.weighting import loss_ratio_weights
from embryofl_server.federation.strategies.base import Aggregation, Round, State, Strategy, StrategySettings, register
from embryofl_server.federation.strategies.blocks import averaged

LOSSES = "losses/"


class FedEmbryoSettings(StrategySettings):
    """`temperature`: the paper's T; the larger, the more alike do clinics, and tasks inside a clinic, count."""

    temperature: float = Field(default=4.0, gt=0, le=1000)


@register
class FedEmbryo(Strategy[FedEmbryoSettings]):
    SETTINGS = FedEmbryoSettings
    LOCAL = {"task_weights": "losses"}
    LOSSES_NEEDED = True

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The mean weighted by how the clinics' training losses have changed until the round before."""
        # (older, newer) of each clinic; 0 = none
        before = {u.clinic: state.get(LOSSES + u.clinic, np.zeros(2)) for u in round_.updates}
        ratios = [float(b[1] / b[0]) if b[0] > 0 and b[1] > 0 else 1.0 for b in before.values()]
        new = {name: np.array(losses) for name, losses in state.items()}
        for u in round_.updates:
            if u.train_loss:
                new[LOSSES + u.clinic] = np.array([before[u.clinic][1], u.train_loss])
        return averaged(round_, loss_ratio_weights(ratios, self._settings.temperature), new)
