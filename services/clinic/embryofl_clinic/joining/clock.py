"""The hub's clock, as seen from here: what is signed or compared with the hub's times goes by it.

A clinic's clock may be wrong; signatures of more than 5 minutes ago (or ahead) the hub refuses. So the hub is asked what
time it has (`standing`), over TLS, and the difference is added here.
"""

import time

ALLOWED_S = 5.0  # a smaller difference may be the way of the answer, and does no harm


class HubClock:
    """Unix time at the hub. `offset` is what has to be added to this machine's clock, in seconds."""

    def __init__(self) -> None:
        self.offset = 0.0

    @property
    def off(self) -> bool:
        """Whether this machine's clock is wrong, or the hub's."""
        return self.offset != 0.0

    def now(self) -> float:
        """Unix time at the hub."""
        return time.time() + self.offset

    def set(self, there: float, asked: float, answered: float) -> None:
        """The hub had the time `there`, somewhen between `asked` and `answered` by this machine's clock."""
        offset = there - (asked + answered) / 2
        self.offset = offset if abs(offset) > ALLOWED_S else 0.0
