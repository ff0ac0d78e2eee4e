"""FedBN: each clinic keeps the normalisation layers of its own, which take up what its microscope does to all images.

Li et al., "FedBN: Federated Learning on Non-IID Features via Local Batch Normalization", ICLR 2021,
https://arxiv.org/abs/2102.07623. The clinics do it (`embryofl_clinic.workload.personal`): they send those tensors
back as they received them, so that nothing of theirs travels and the hub's model keeps the initial ones. The hub does
federated averaging. The model zoo has group and layer normalisation in the place of batch normalisation; those are kept.
"""

from embryofl_server.federation.strategies.base import register
from embryofl_server.federation.strategies.fedavg import FedAvg


@register
class FedBN(FedAvg):
    LOCAL = {"personal": "norms"}
