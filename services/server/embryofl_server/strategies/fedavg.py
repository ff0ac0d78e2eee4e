"""Federated averaging: the mean of the clinics' models, weighted by their training examples.

McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS 2017,
https://arxiv.org/abs/1602.05629, algorithm 1.
"""

from pathlib import Path

import numpy as np

from embryofl.wire import Layout
from embryofl_server.aggregate import OrderedMean


class FedAvg:
    """See `embryofl_server.strategies.Strategy`."""

    NAME = "fedavg"
    LEAST_CLINICS = 1

    def __init__(self, layout: Layout, order: list[str]) -> None:
        self._mean = OrderedMean(layout, order)

    def add(self, name: str, update: Path, examples: int) -> None:
        """Weight by the number of training examples."""
        self._mean.add(name, update, float(examples))

    def skip(self, name: str) -> None:
        """Leave a clinic out of this round's mean."""
        self._mean.skip(name)

    def result(self) -> np.ndarray:
        """The weighted mean, packed."""
        return self._mean.result()
