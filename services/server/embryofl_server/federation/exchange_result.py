"""The outcome of an exchange: the replies that are used, and why others are not."""

from dataclasses import dataclass, field

from embryofl_server.federation.gate import AcceptedReply


@dataclass(frozen=True)
class ExcludedReply:
    """Why a clinic's reply is not used. `fault`: the gate rejected it, which counts towards suspension."""

    reason: str
    message: str
    fault: bool = False


@dataclass
class ExchangeResult:
    """The outcome of an exchange.

    Attributes
    ----------
    accepted : dict of str to AcceptedReply
        By clinic, in the order of names.
    scales : dict of str to float
        Factor of each accepted update, below 1 where it is clipped.
    excluded : dict of str to ExcludedReply
    shortfall : str
        Why there are too few replies; empty if there are enough.
    """

    accepted: dict[str, AcceptedReply] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)
    excluded: dict[str, ExcludedReply] = field(default_factory=dict)
    shortfall: str = ""

    @property
    def reasons(self) -> dict[str, str]:
        """Short reasons by excluded clinic."""
        return {name: reply.reason for name, reply in sorted(self.excluded.items())}

    def discard(self) -> None:
        """Delete the files of the accepted updates."""
        for reply in self.accepted.values():
            if reply.update is not None:
                reply.update.unlink(missing_ok=True)
