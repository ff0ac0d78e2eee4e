"""What the clinic's ledgers have in common: an entry says which request was answered."""

import time
from typing import Any, Self

from embryofl.messages import Request
from embryofl.schema import Name, Sha256, Strict
from embryofl.secagg.messages import digest


class Answered(Strict):
    """A request that was answered.

    Attributes
    ----------
    time : float
        Unix time in seconds.
    run : str
    round : int
    model, work : str
        SHA-256 of the request's model, and `digest` of the run's settings.
    """

    time: float
    run: Name
    round: int
    model: Sha256
    work: Sha256

    @classmethod
    def now(cls, request: Request, **more: Any) -> Self:
        """An entry of this moment about a request."""
        return cls(
            time=time.time(),
            run=request.run,
            round=request.round,
            model=request.model.sha256,
            work=digest(request.settings),
            **more,
        )

    def is_of(self, request: Request) -> bool:
        """Whether a request asks for the same."""
        same = (request.run, request.round, request.model.sha256, digest(request.settings))
        return (self.run, self.round, self.model, self.work) == same
