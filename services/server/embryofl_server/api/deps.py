"""What routes depend on: the hub, the control token, who is asking, and the limit on rejected attempts."""

import collections
import hmac
import threading
import time
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Header, HTTPException, Request

from embryofl.errors import UserError
from embryofl_server.hub import Hub


def _hub_of(request: Request) -> Hub:
    hub: Hub = request.app.state.hub
    return hub


CurrentHub = Annotated[Hub, Depends(_hub_of)]

By = Annotated[str, Header(alias="x-embryofl-by", max_length=100)]
"""Who asks, for the audit log: what the holder of the control token says of itself."""

Address = Annotated[str, Header(alias="x-forwarded-for")]
"""The gateway replaces what a client writes there by the address it came from (Caddy trusts no client's header)."""


def authorised(request: Request, hub: CurrentHub) -> None:
    """Require the control token."""
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(token.encode(), hub.identity.control_token.encode()):
        raise HTTPException(401, "The control API needs the hub's control token.")


class TooManyFailures(UserError):
    """An address has had too many attempts rejected within a minute."""


class RecentFailures:
    """Slows down guessing at invites: after `MOST` rejections within a minute an address is shut out for the rest of it.

    The last `ADDRESSES` are remembered, so that a flood of addresses costs no memory. An invite's secret has 128 bits or
    more: the limit spares work and logs, it is not what keeps a guesser out.
    """

    MOST, WINDOW_S, ADDRESSES = 20, 60.0, 10_000

    def __init__(self) -> None:
        self._times: collections.OrderedDict[str, collections.deque[float]] = collections.OrderedDict()
        self._lock = threading.Lock()  # enrolments are answered in several threads

    def __len__(self) -> int:
        return len(self._times)

    def count(self, address: str) -> None:
        """An attempt from `address` was rejected."""
        with self._lock:
            self._times.setdefault(address, collections.deque(maxlen=self.MOST)).append(time.monotonic())
            self._times.move_to_end(address)
            while len(self._times) > self.ADDRESSES:
                self._times.popitem(last=False)

    def too_many(self, address: str) -> bool:
        """Whether the window of `address` is full."""
        with self._lock:
            times = self._times.get(address)
            return times is not None and len(times) == self.MOST and time.monotonic() - times[0] < self.WINDOW_S


def rate_limited(kind: str, message: str) -> Callable[..., None]:
    """A dependency for routes open to strangers: rejected attempts of a `kind` are counted by address.

    Raises
    ------
    TooManyFailures
        With `message`.
    """

    def check(request: Request, address: Address = "") -> None:
        failures: RecentFailures = request.app.state.failures[kind]
        if failures.too_many(address):
            raise TooManyFailures("C6", message)
        request.state.count_failure = lambda: failures.count(address)

    return check
