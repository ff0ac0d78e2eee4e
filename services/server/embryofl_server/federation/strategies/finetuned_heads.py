"""Federated averaging, and at the end each clinic fine-tunes the head on its own patients.

Wang et al., "Federated Evaluation of On-device Personalization", 2019, https://arxiv.org/abs/1910.10252, for the head alone
as in Arivazhagan et al., "Federated Learning with Personalization Layers", 2019, https://arxiv.org/abs/1912.00818. The
clinics do it when the final model is evaluated (`embryofl_clinic.workload.personal`, `personal_epochs`); nothing is kept
from round to round, and what is fine-tuned never leaves.
"""

from embryofl_server.federation.strategies.base import register
from embryofl_server.federation.strategies.fedavg import FedAvg


@register
class FineTunedHeads(FedAvg):
    LOCAL = {"personal": "head", "personal_epochs": 5}
