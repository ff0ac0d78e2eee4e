"""Weights next to the messages: what the reply to a request needs of whatever moves files between hub and clinic."""

from typing import Protocol

import numpy as np

from embryofl.messages import UploadReceipt
from embryofl.schema import Download


class TransferRefused(Exception):
    """The hub no longer accepts or serves this file: the round is over, or the clinic is excluded."""


class TransferDamaged(Exception):
    """The bytes are not those the hub announced."""


class Transfers(Protocol):
    """Moves models and updates; both methods raise `TransferRefused`."""

    def download(self, wanted: Download, deadline: float) -> np.ndarray:
        """Fetch a file: uint8 `(wanted.size,)`. Also raises `TransferDamaged`."""

    def upload(self, url: str, data: np.ndarray, deadline: float) -> UploadReceipt:
        """Send a packed update, uint8 (n,), whole or not at all."""
