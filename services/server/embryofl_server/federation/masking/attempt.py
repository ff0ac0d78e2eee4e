"""The exchanges of a masked round, up to the closed sum (`Attempt`) and from it to the sum without masks (`Opening`)."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np
from pydantic import Field

from embryofl.errors import ProtocolError
from embryofl.masked_update import sum_weight
from embryofl.membership import KeyChange
from embryofl.messages import Kind, MaskingReply, MaskingRequest, Reply
from embryofl.pooled_metrics import WEIGHT
from embryofl.schema import Name, Strict
from embryofl.secagg.fixed_point import RING, Ring
from embryofl.secagg.hub import HubSession
from embryofl.secagg.messages import Terms
from embryofl.secagg.threshold import MAX_CLINICS
from embryofl.secagg.unmasking import ClosedSum, Unmasking
from embryofl.settings import RunSettings
from embryofl_server.federation.gate import AcceptedReply
from embryofl_server.federation.step import Step

T = TypeVar("T")


class MaskedSum(Strict):
    """What is kept on disk with a masked sum: who is in it, the enrolled keys (OpenSSH lines) that they had when the roster
    was closed, and their training replies."""

    attempt: int
    lines: dict[Name, str] = Field(max_length=MAX_CLINICS)
    closed: ClosedSum
    replies: dict[Name, Reply] = Field(max_length=MAX_CLINICS)


def _same_for_all(
    request: MaskingRequest, part: Callable[[MaskingReply], T | None], take: Callable[[str, T], None]
) -> Step:
    """A step that asks all clinics for the same and takes that part of each reply."""

    def take_part(name: str, accepted: AcceptedReply) -> AcceptedReply:
        masking = accepted.reply.masking
        found = part(masking) if masking is not None else None
        assert found is not None  # the message's schema
        take(name, found)
        return accepted

    return Step(lambda name: request, take_part)


class Attempt:
    """Keys, letters and masked vectors.

    Parameters
    ----------
    terms : Terms
    settings : RunSettings
    lines : dict of str to str
        Enrolled keys of the clinics that are asked, OpenSSH lines.
    changes : dict of str to list of KeyChange
        How these clinics have changed their keys.
    """

    def __init__(
        self, terms: Terms, settings: RunSettings, lines: dict[str, str], changes: dict[str, list[KeyChange]]
    ) -> None:
        self._terms, self._settings, self._lines, self._changes = terms, settings, lines, changes
        self._pooled = terms.kind == "evaluate"
        self.hub = HubSession(terms, lines)

    def keys(self) -> Step:
        """The clinics' adverts."""
        request = MaskingRequest(terms=self._terms, peers=self._lines, changes=self._changes)

        def take(name: str, accepted: AcceptedReply) -> AcceptedReply:
            masking = accepted.reply.masking
            assert masking is not None and masking.advert is not None  # the message's schema
            self._check_weight(name, masking.advert.clinic, masking.advert.weight, accepted.reply)
            self.hub.take_advert(masking.advert)
            return accepted

        return Step(lambda name: request, take)

    def letters(self) -> Step:
        """Letters from each clinic of the roster."""
        request = MaskingRequest(roster=self.hub.close_roster())
        return _same_for_all(request, lambda masking: masking.letters, self.hub.take_letters)

    def vectors(self) -> Step:
        """Masked vectors: each is added to the sum and deleted."""
        roster = self.hub.close_roster()

        def take(name: str, accepted: AcceptedReply) -> AcceptedReply:
            self._check_weight(name, name, roster.advert_of(name).weight, accepted.reply)
            assert accepted.update is not None
            self.hub.take_masked(name, np.fromfile(accepted.update, RING))
            accepted.update.unlink()
            return replace(accepted, update=None)

        return Step(
            lambda name: MaskingRequest(letters=self.hub.letters_for(name)), take, self._terms.length * RING.itemsize
        )

    def close(self, accepted: Mapping[str, AcceptedReply]) -> MaskedSum:
        """Close the sum, which is `hub.masked_sum`, with the replies that came with the vectors."""
        return MaskedSum(
            attempt=self._terms.attempt,
            lines={name: self._lines[name] for name in self.hub.close_roster().names},
            closed=self.hub.close_sum(),
            replies={name: each.reply for name, each in accepted.items()},
        )

    def _check_weight(self, name: str, clinic: str, weight: int, reply: Reply) -> None:
        expected = WEIGHT if self._pooled else sum_weight(self._settings, reply.examples)
        if (clinic, weight) != (name, expected):
            raise ProtocolError(
                f"weight {weight} of {clinic}, expected {expected} of {name} for {reply.examples} training embryos",
                name,
            )


class Opening:
    """Confirmations and shares.

    Parameters
    ----------
    closed : ClosedSum
    masked_sum : ndarray of uint32, (length,)
        Taken over.
    lines : dict of str to str
        The enrolled keys that the roster was closed with, OpenSSH lines.

    Raises
    ------
    ProtocolError
        As `Unmasking`.
    """

    def __init__(self, closed: ClosedSum, masked_sum: Ring, lines: dict[str, str]) -> None:
        self.unmasking = Unmasking(closed, masked_sum, lines)

    def steps(self) -> list[tuple[Kind, Callable[[], Step]]]:
        """Both, in order; the second is made of what the first has brought."""
        return [("survivors", self.survivors), ("shares", self.shares)]

    def survivors(self) -> Step:
        """Signatures of who is in the sum."""
        request = MaskingRequest(statement=self.unmasking.statement)
        return _same_for_all(request, lambda masking: masking.confirmation, self.unmasking.take_confirmation)

    def shares(self) -> Step:
        """Shares of the seeds of masks."""
        request = MaskingRequest(statement=self.unmasking.statement, signatures=self.unmasking.confirmations())
        return _same_for_all(request, lambda masking: masking.shares, self.unmasking.take_shares)
