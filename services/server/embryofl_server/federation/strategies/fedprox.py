"""FedProx: federated averaging of clinics that do not stray far from the model they were sent.

Li et al., "Federated Optimization in Heterogeneous Networks", MLSys 2020, https://arxiv.org/abs/1812.06127, algorithm 2.
The proximal term is added at the clinics (`embryofl.task.train`, `proximal`); what the server does is federated averaging.
Partial work, the paper's other half, is what deadline and quorum are for.
"""

from embryofl_server.federation.strategies.base import register
from embryofl_server.federation.strategies.fedavg import FedAvg


@register
class FedProx(FedAvg):
    LOCAL = {"proximal": 0.01}
