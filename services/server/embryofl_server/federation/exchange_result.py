"""The outcome of an exchange: the replies that are used, and why others are not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from embryofl.errors import KeysLostError, NotFiniteError
from embryofl_server.federation.gate import AcceptedReply
from embryofl_server.federation.strategies.base import ClinicUpdate

RESTARTED = "restarted"
"""Reason of a clinic that has lost its keys."""


@dataclass(frozen=True)
class ExcludedReply:
    """Why a clinic's reply is not used. `fault`: the gate rejected it, which counts towards suspension. `accused`: the
    clinic whose letter it could not open, in a masked round."""

    reason: str
    message: str
    fault: bool = False
    accused: str = ""

    @staticmethod
    def of_error(error: str) -> "ExcludedReply":
        """Of a clinic that has failed with an exception of this name."""
        if error == KeysLostError.__name__:
            return ExcludedReply(RESTARTED, "the clinic was restarted and has lost the keys of this attempt")
        reason = "not_finite" if error == NotFiniteError.__name__ else "clinic_error"
        return ExcludedReply(reason, f"the clinic failed with {error}; see the clinic's own log")


@dataclass(frozen=True)
class MeanUpdates:
    """Weighted means of masked updates, in place of these: one, or one of each group. `shares`: each clinic's share in the
    new model, where that is such a mean."""

    updates: Sequence[ClinicUpdate]
    shares: Mapping[str, float]


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
    means : MeanUpdates or None
        Where the updates are masked: all that the hub knows of them.
    masking : dict
        What the round's record says of the masks; empty where the masks could not be removed.
    void : str
        Why a masked round has no result; empty if it has one.
    void_sum : tuple of str
        The clinics of a void round's sum: from the same model they confirm no sum over others.
    back_to : int or None
        The round whose model is taken again, because clinics have voted the newest one down; the round is void then.
    """

    accepted: dict[str, AcceptedReply] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)
    excluded: dict[str, ExcludedReply] = field(default_factory=dict)
    shortfall: str = ""
    means: MeanUpdates | None = None
    masking: dict[str, Any] = field(default_factory=dict)
    void: str = ""
    void_sum: tuple[str, ...] = ()
    back_to: int | None = None

    @property
    def reasons(self) -> dict[str, str]:
        """Short reasons by excluded clinic."""
        return {name: reply.reason for name, reply in sorted(self.excluded.items())}

    def discard(self) -> None:
        """Delete the files of the accepted updates."""
        for reply in self.accepted.values():
            if reply.update is not None:
                reply.update.unlink(missing_ok=True)
        for update in self.means.updates if self.means else ():
            update.path.unlink(missing_ok=True)
