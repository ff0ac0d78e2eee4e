"""What routes depend on: the hub, the control token, who is asking, and the limit on rejected attempts."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, HTTPException, Request

from embryofl_server.hub import Hub
from embryofl_server.members.limits import Limit


def _hub_of(request: Request) -> Hub:
    hub: Hub = request.app.state.hub
    return hub


CurrentHub = Annotated[Hub, Depends(_hub_of)]

Address = Annotated[str, Header(alias="x-forwarded-for")]
"""The gateway replaces what a client writes there by the address it came from (Caddy trusts no client's header)."""


def authorised(request: Request, hub: CurrentHub) -> str:
    """Require a token of the control API: the console's own, or the coordinator's; returns whose it is."""
    token = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
    for name, expected in (("console", hub.identity.console_token), ("coordinator", hub.identity.control_token)):
        if hmac.compare_digest(token, expected.encode()):
            return name
    raise HTTPException(401, "The control API needs the hub's control token.")


def _asking(
    caller: Annotated[str, Depends(authorised)],
    claim: Annotated[str, Header(alias="x-embryofl-by", max_length=100)] = "",
) -> str:
    return f"coordinator ({claim})" if caller == "coordinator" and claim else caller


By = Annotated[str, Depends(_asking)]
"""Who asks, for the audit log: whose token it is, and in brackets what the holder of the coordinator's says of itself."""


def strangers(kind: str, message: str) -> Callable[..., None]:
    """A dependency for routes open to strangers: rejected attempts of a `kind` are counted by address, and from
    `REJECTED` on answered with `message` alone. Members share addresses with strangers (a tunnel, a hospital's network),
    so that what they ask for is done whatever the count is."""

    def note(request: Request, address: Address = "") -> None:
        request.state.rejected = Rejections(request.app.state.limits[kind], address, message)

    return note


@dataclass(frozen=True)
class Rejections:
    """Rejected attempts of an address, and what to answer if they are too many."""

    limit: Limit
    address: str
    message: str

    def too_many(self) -> bool:
        """Count one more, unless there are too many."""
        if self.limit.reached(self.address):
            return True
        self.limit.count(self.address)
        return False
