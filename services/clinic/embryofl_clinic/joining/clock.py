"""The hub's clock, as seen from here: signatures and deadlines use it.

A clinic's clock may be wrong, and the hub rejects signatures that are more than 5 minutes off. So each status carries the
hub's time, over TLS, and the difference is added here.
"""

import time

ALLOWED_S = 5.0  # a smaller difference may be the network's delay, and does no harm


class HubClock:
    """Unix time at the hub. `offset` is added to this machine's clock, in seconds."""

    def __init__(self) -> None:
        self.offset = 0.0

    @property
    def off(self) -> bool:
        """Whether this machine's clock and the hub's differ."""
        return self.offset != 0.0

    def now(self) -> float:
        """Unix time at the hub."""
        return time.time() + self.offset

    def set(self, hub_time: float, asked: float, received: float) -> None:
        """The hub's clock showed `hub_time` at some moment between `asked` and `received` on this machine's clock."""
        offset = hub_time - (asked + received) / 2
        self.offset = offset if abs(offset) > ALLOWED_S else 0.0
