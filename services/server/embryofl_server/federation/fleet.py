"""The clinics of a run and the messages to and from them, as the round loop sees them. Free of flwr and HTTP."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from embryofl_server.members.keys import RegistryUnreachable


class FleetLost(RegistryUnreachable):
    """What carries the messages cannot be reached, has forgotten this hub, or has ended its run. See `Fleet.recover`."""


@dataclass(frozen=True)
class Node:
    """A connected clinic. `activated` changes each time the clinic's process reconnects."""

    name: str
    id: int
    online: bool
    activated: str


@dataclass(frozen=True)
class RawReply:
    """What came back for a message, unchecked: the clinic's JSON text or the type of its error.

    `lost`: the message has to be sent again.
    """

    message_id: str
    text: str = ""
    error: str = ""
    lost: bool = False


def error_name(text: str) -> str:
    """The type of a clinic's error; any other text from a clinic is never repeated."""
    return text if re.fullmatch(r"[A-Za-z]\w{0,60}", text) else "an error"


class Fleet(Protocol):
    """Carries messages between the round loop and the clinics. All methods but `close` raise `FleetLost`."""

    @property
    def poll_s(self) -> float:
        """Shortest pause between two polls for replies, in seconds."""

    def recover(self, keys: Callable[[], Mapping[str, str]]) -> list[str]:
        """Start, or start again after `FleetLost`, with the clinics of `keys()` (name to OpenSSH public key line); returns
        the names that were new. Earlier messages are forgotten."""

    def close(self) -> None:
        """End what `recover` started."""

    def nodes(self) -> dict[str, Node]:
        """The clinics that have connected, by name."""

    def send(self, node: Node, text: str, ttl_s: float, group: str) -> str:
        """Send a JSON text to one clinic; returns the message's id."""

    def replies(self, message_ids: list[str]) -> list[RawReply]:
        """The replies to these messages that have arrived; each is returned once."""
