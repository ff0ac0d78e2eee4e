"""q-FedAvg: clinics on whose patients the model is worse count for more, so that no clinic is left behind.

Li et al., "Fair Resource Allocation in Federated Learning", ICLR 2020, https://arxiv.org/abs/1905.10497, algorithm 2. The
loss is that of the model that was sent, on the clinic's validation patients; a clinic that withholds it (too few embryos)
is taken to have the mean loss of the others.
"""

from dataclasses import replace
from statistics import fmean
from typing import ClassVar

from pydantic import Field

from embryofl_server.federation.strategies.base import Aggregation, Round, State, StrategySettings
from embryofl_server.federation.strategies.blocks import shares, weighted_mean

LEAST_LOSS = 1e-10  # as in the authors' code: a loss of 0 to the power q - 1


class QFedAvgSettings(StrategySettings):
    """`q`: 0 counts all clinics the same, more favours those that the model serves worst. `lipschitz`: the paper's L;
    the paper sets it to 1 / learning rate, which is right for plain SGD but not for AdamW's steps."""

    q: float = Field(default=1.0, ge=0, le=10)
    lipschitz: float = Field(default=1.0, gt=0, le=1e6)


class QFedAvg:
    """See `embryofl_server.federation.strategies.base.Strategy`."""

    NAME: ClassVar[str] = "qfedavg"
    SETTINGS: ClassVar[type[StrategySettings]] = QFedAvgSettings
    min_updates = 1

    def __init__(self, settings: QFedAvgSettings) -> None:
        self._q, self._lipschitz = settings.q, settings.lipschitz

    def aggregate(self, round_: Round, state: State) -> Aggregation:
        """The model moves by the sum of F^q L du over the sum of q F^(q-1) |L du|^2 + L F^q."""
        q, lipschitz = self._q, self._lipschitz
        known = [u.loss for u in round_.updates if u.loss is not None]
        usual = fmean(known) if known else 1.0
        losses = [max(usual if u.loss is None else u.loss, LEAST_LOSS) for u in round_.updates]
        pull = [lipschitz * loss**q for loss in losses]
        bound = sum(
            q * loss ** (q - 1) * (lipschitz * u.counted_norm) ** 2 + lipschitz * loss**q
            for u, loss in zip(round_.updates, losses, strict=True)
        )
        count = len(pull)
        updates = [replace(u, scale=u.scale * count * p / bound) for u, p in zip(round_.updates, pull, strict=True)]
        return Aggregation(weighted_mean(replace(round_, updates=updates), [1.0] * count), shares=shares(updates, pull))
