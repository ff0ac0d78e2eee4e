"""The exchanges of a masked round, up to the closed sums (`Attempt`) and from these to sums without masks (`Opening`)."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
from pydantic import Field

from embryofl.errors import ProtocolError, TooFewClinicsError
from embryofl.masked_update import sum_weight
from embryofl.membership import KeyChange
from embryofl.messages import Kind, MaskingReply, MaskingRequest, Reply
from embryofl.pooled_metrics import WEIGHT
from embryofl.schema import Name, Strict
from embryofl.secagg.fixed_point import RING, Ring
from embryofl.secagg.groups import Groups, in_sums
from embryofl.secagg.hub import HubSession
from embryofl.secagg.messages import Roster, Terms
from embryofl.secagg.threshold import MAX_CLINICS, MIN_CLINICS
from embryofl.secagg.unmasking import ClosedSum, Unmasking
from embryofl.settings import RunSettings
from embryofl_server.federation.gate import AcceptedReply
from embryofl_server.federation.masking.groups import Sides
from embryofl_server.federation.step import Step

T = TypeVar("T")


class MaskedSums(Strict):
    """What is kept on disk with masked sums, one or one of each group: who is in them, the enrolled keys (OpenSSH lines)
    that they had when the rosters were closed, their training replies, and why other clinics are in none."""

    attempt: int
    lines: dict[Name, str] = Field(max_length=MAX_CLINICS)
    closed: tuple[ClosedSum, ...] = Field(max_length=MAX_CLINICS)
    replies: dict[Name, Reply] = Field(max_length=MAX_CLINICS)
    left_out: dict[Name, str] = Field(default_factory=dict, max_length=MAX_CLINICS)

    @property
    def survivors(self) -> tuple[str, ...]:
        """The clinics in the sums."""
        return tuple(sorted(name for closed in self.closed for name in closed.statement.survivors))

    @property
    def lacks_none(self) -> bool:
        """Whether every clinic of the rosters is in a sum."""
        return all(closed.statement.survivors == closed.roster.names for closed in self.closed)


def _usable(rosters: list[Roster]) -> Callable[[Collection[str]], int]:
    """Of the clinics that have replied, those in groups of which as many have as a sum needs; all without groups."""
    groups = {roster.names: roster.threshold for roster in rosters if roster.drawn}
    return partial(in_sums, groups=groups) if groups else len


def _part(reply: Reply, part: Callable[[MaskingReply], T | None]) -> T:
    found = part(reply.masking) if reply.masking is not None else None
    assert found is not None  # the message's schema
    return found


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
        self._pooled = terms.kind != "train"
        self._gathering = HubSession(terms, lines)
        self._sides: Sides[HubSession] = Sides({})
        self._sums: dict[int, Ring] = {}

    @property
    def weights(self) -> dict[str, int]:
        """Of the clinics that have sent keys, by name."""
        return self._gathering.weights

    @property
    def left_out(self) -> dict[str, str]:
        """See `Sides`."""
        return self._sides.left_out

    def keys(self, groups: Groups = ()) -> Step:
        """The clinics' adverts. `groups`: those of the run, if they have been drawn."""
        request = MaskingRequest(terms=self._terms, peers=self._lines, changes=self._changes)

        def take(name: str, accepted: AcceptedReply) -> AcceptedReply:
            advert = _part(accepted.reply, lambda masking: masking.advert)
            self._check_weight(name, advert.clinic, advert.weight, accepted.reply)
            self._gathering.take_advert(advert)
            return accepted

        usable = partial(in_sums, groups=dict.fromkeys(groups, MIN_CLINICS)) if groups else len
        return Step(lambda name: request, take, usable=usable)

    def close_rosters(self, groups: Groups = (), drawn: Mapping[str, int] | None = None) -> list[Roster]:
        """Of each group those that have sent keys, or all that have. `drawn`: see `Roster`."""
        if groups:
            self._sides = Sides({group: self._gathering.of_group(group, drawn or {}) for group in groups})
        else:
            self._sides = Sides({tuple(self.weights): self._gathering})
        return self._sides.each(HubSession.close_roster)

    def letters(self) -> Step:
        """Letters from each clinic of the rosters."""
        rosters = self._sides.each(HubSession.close_roster)

        def take(name: str, accepted: AcceptedReply) -> AcceptedReply:
            self._sides.of(name).take_letters(name, _part(accepted.reply, lambda masking: masking.letters))
            return accepted

        return Step(
            lambda name: MaskingRequest(roster=self._sides.of(name).close_roster()),
            take,
            usable=_usable(rosters),
            left_out=self.left_out,
        )

    def close_letters(self) -> tuple[str, ...]:
        """Whose letters are passed on."""
        return tuple(sorted(name for sharers in self._sides.each(HubSession.close_letters) for name in sharers))

    def vectors(self) -> Step:
        """Masked vectors: each is added to its group's sum and deleted."""

        def take(name: str, accepted: AcceptedReply) -> AcceptedReply:
            side = self._sides.of(name)
            self._check_weight(name, name, side.close_roster().advert_of(name).weight, accepted.reply)
            assert accepted.update is not None
            side.take_masked(name, np.memmap(accepted.update, RING, "r"))
            accepted.update.unlink()
            return replace(accepted, update=None)

        return Step(
            lambda name: MaskingRequest(letters=self._sides.of(name).letters_for(name)),
            take,
            self._terms.length * RING.itemsize,
            _usable(self._sides.each(HubSession.close_roster)),
            self.left_out,
        )

    def close(self, accepted: Mapping[str, AcceptedReply]) -> tuple[MaskedSums, Ring]:
        """Close the sums, with the replies that came with the vectors.

        Returns
        -------
        masked : MaskedSums
        totals : ndarray of uint32, (groups, length)
        """
        closed = self._sides.each(HubSession.close_sum)
        names = {name for one in closed for name in one.statement.survivors}
        masked = MaskedSums(
            attempt=self._terms.attempt,
            lines={name: self._lines[name] for one in closed for name in one.roster.names},
            closed=tuple(closed),
            replies={name: each.reply for name, each in accepted.items() if name in names},
            left_out=self.left_out,
        )
        sums = [side.masked_sum for side in self._sides]
        return masked, sums[0][None] if len(sums) == 1 else np.stack(sums)

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
    masked : MaskedSums
    totals : ndarray of uint32, (groups, length)
        Taken over.

    Attributes
    ----------
    wrong : list of ProtocolError
        Why the masks of sums cannot be removed, which names the clinic that breaks the rules.

    Raises
    ------
    ProtocolError
        As `Unmasking`.
    """

    def __init__(self, masked: MaskedSums, totals: Ring) -> None:
        self._closed = {closed.statement.roster: closed for closed in masked.closed}
        self._sides = Sides(
            {
                closed.roster.names: Unmasking(closed, total, masked.lines)
                for closed, total in zip(masked.closed, totals, strict=True)
            }
        )
        self._sides.left_out |= masked.left_out
        self.wrong: list[ProtocolError] = []

    @property
    def left_out(self) -> dict[str, str]:
        """See `Sides`."""
        return self._sides.left_out

    @property
    def survivors(self) -> tuple[str, ...]:
        """The clinics in the sums that can still be opened."""
        return tuple(sorted(name for side in self._sides for name in side.statement.survivors))

    def steps(self) -> list[tuple[Kind, Callable[[], Step]]]:
        """Both, in order; the second is made of what the first has brought."""
        return [("survivors", self.confirmed), ("shares", self.shares)]

    def confirmed(self) -> Step:
        """Signatures of who is in the sum."""
        return self._step(
            lambda side: MaskingRequest(statement=side.statement),
            lambda side, name, masking: side.take_confirmation(name, masking.confirmation or ""),
        )

    def shares(self) -> Step:
        """Shares of the seeds of masks."""
        self._sides.each(Unmasking.confirmations)

        def take(side: Unmasking, name: str, masking: MaskingReply) -> None:
            assert masking.shares is not None  # the message's schema
            side.take_shares(name, masking.shares)

        return self._step(lambda side: MaskingRequest(statement=side.statement, signatures=side.confirmations()), take)

    def _step(
        self, ask: Callable[[Unmasking], MaskingRequest], take: Callable[[Unmasking, str, MaskingReply], None]
    ) -> Step:
        def take_part(name: str, accepted: AcceptedReply) -> AcceptedReply:
            take(self._sides.of(name), name, _part(accepted.reply, lambda masking: masking))
            return accepted

        rosters = [self._closed[side.statement.roster].roster for side in self._sides]
        return Step(lambda name: ask(self._sides.of(name)), take_part, usable=_usable(rosters), left_out=self.left_out)

    def sums(self) -> list[tuple[ClosedSum, Ring]]:
        """The sums without masks, uint32 (length,), of the groups that have one."""
        opened = []
        for side in self._sides:
            try:
                opened.append((self._closed[side.statement.roster], side.total()))
            except ProtocolError as exc:
                self._sides.leave_out(side, f"The masks cannot be removed: {exc}.")
                if not isinstance(exc, TooFewClinicsError):
                    self.wrong.append(exc)
        return opened
