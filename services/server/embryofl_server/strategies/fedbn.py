"""FedBN: each clinic keeps the normalisation layers of its own, which take up what its microscope does to all images.

Li et al., "FedBN: Federated Learning on Non-IID Features via Local Batch Normalization", ICLR 2021,
https://arxiv.org/abs/2102.07623. The clinics do it (`embryofl_clinic.personal`): in the place of those tensors they send
back what they were sent, so that nothing of theirs travels, and the hub's model keeps the initial ones. What the hub does
is federated averaging. The model zoo has group and layer normalisation in the place of batch normalisation; those are kept.
"""

from typing import Any, ClassVar

from embryofl_server.strategies.fedavg import FedAvg


class FedBN(FedAvg):
    """See `embryofl_server.strategies.base.Strategy`. `LOCAL`: how its clinics train."""

    NAME: ClassVar[str] = "fedbn"
    LOCAL: ClassVar[dict[str, Any]] = {"personal": "norms"}
