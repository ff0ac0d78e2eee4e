"""What an exchange of a masked round adds to that of any other (see `embryofl_server.federation.masking`)."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from embryofl.messages import MaskingRequest
from embryofl_server.federation.gate import AcceptedReply


@dataclass(frozen=True)
class Step:
    """One step of secure aggregation.

    Attributes
    ----------
    ask : callable
        From a clinic to what its request carries.
    take : callable
        Uses a clinic's reply after the gate; returns what is kept of it. `ProtocolError` rejects the reply.
    upload_size : int
        Bytes of a masked vector; 0 in an exchange without uploads.
    usable : callable
        From the clinics that have replied to how many of these replies are of use.
    left_out : mapping of str to str
        Why clinics are not asked any more in this round, for the status.
    """

    ask: Callable[[str], MaskingRequest]
    take: Callable[[str, AcceptedReply], AcceptedReply]
    upload_size: int = 0
    usable: Callable[[Collection[str]], int] = len
    left_out: Mapping[str, str] = field(default_factory=dict)
