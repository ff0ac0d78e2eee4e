"""Ditto: beside the global model each clinic trains one of its own, pulled towards the global one.

Li et al., "Ditto: Fair and Robust Federated Learning Through Personalization", ICML 2021,
https://arxiv.org/abs/2012.04221, algorithm 1: v - eta (grad F_k(v) + lambda (v - w)), with w as it was sent. The clinics do
it (`embryofl_clinic.workload.personal`; lambda is the run's `personal_pull`), at twice the computing; the model v never
leaves. What the hub does is federated averaging.
"""

from embryofl_server.federation.strategies.base import register
from embryofl_server.federation.strategies.fedavg import FedAvg


@register
class Ditto(FedAvg):
    LOCAL = {"personal": "model"}
