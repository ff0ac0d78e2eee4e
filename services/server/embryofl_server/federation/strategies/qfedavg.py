"""q-FedAvg: clinics on whose patients the model is worse count for more, so that no clinic is left behind.

Li et al., "Fair Resource Allocation in Federated Learning", ICLR 2020, https://arxiv.org/abs/1905.10497, algorithm 2. The
loss is that of the model that was sent, on the clinic's validation patients; a clinic that withholds it (too few embryos)
is taken to have the mean loss of the others.
"""

from dataclasses import replace
from statistics import fmean

from pydantic import Field

from embryofl_server.federation.strategies.base import Aggregation, Round, State, Strategy, StrategySettings, register
from embryofl_server.federation.strategies.blocks import averaged, shares

LEAST_LOSS = 1e-10  # as in the authors' code: a loss of 0 to the power q - 1


class QFedAvgSettings(StrategySettings):
    """`q`: 0 counts all clinics the same, more favours those that the model serves worst. `lipschitz`: the paper's L;
    the paper sets it to 1 / learning rate, which is right for plain SGD but not for AdamW's steps."""

    q: float = Field(default=1.0, ge=0, le=10)
    lipschitz: float = Field(default=1.0, gt=0, le=1e6)


@register
class QFedAvg(Strategy[QFedAvgSettings]):
    SETTINGS = QFedAvgSettings
    LOSSES_NEEDED = True

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The model moves by the sum of F^q L du over the sum of q F^(q-1) |L du|^2 + L F^q."""
        q, lipschitz, updates = self._settings.q, self._settings.lipschitz, round_.updates
        reported = [u.loss for u in updates if u.loss is not None]
        mean_loss = fmean(reported) if reported else 1.0
        losses = [max(mean_loss if u.loss is None else u.loss, LEAST_LOSS) for u in updates]
        pull = [lipschitz * loss**q for loss in losses]
        bound = sum(
            q * loss ** (q - 1) * (lipschitz * u.counted_norm) ** 2 + lipschitz * loss**q
            for u, loss in zip(updates, losses, strict=True)
        )
        count = len(updates)
        scales = (u.scale * count * p / bound for u, p in zip(updates, pull, strict=True))
        return replace(averaged(round_.scaled(scales), [1.0] * count), shares=shares(updates, pull))
