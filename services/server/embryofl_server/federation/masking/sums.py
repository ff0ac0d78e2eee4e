"""From keys to sums without masks: the exchanges of one attempt at a round or at an evaluation."""

from collections.abc import Callable
from typing import Protocol

from embryofl.messages import Kind
from embryofl.secagg.fixed_point import Ring
from embryofl.secagg.messages import Terms
from embryofl_server.federation.checkpoint import Checkpoints
from embryofl_server.federation.exchange_result import ExchangeResult
from embryofl_server.federation.fleet import Node
from embryofl_server.federation.fleet_session import FleetSession
from embryofl_server.federation.masking.attempt import Attempt, MaskedSums, Opening
from embryofl_server.federation.masking.groups import RunGroups
from embryofl_server.federation.round_limits import RoundLimits
from embryofl_server.federation.step import Step

PATIENCE_S = 10.0  # how long letters, survivors and shares wait for clinics that are not needed


class Ask(Protocol):
    """`Exchange` with what the run has in common."""

    def __call__(
        self, kind: Kind, number: int, nodes: dict[str, Node], limits: RoundLimits, step: Step
    ) -> ExchangeResult:
        """One exchange."""


class AttemptFailed(Exception):
    """Too few clinics are left in an attempt; another one may have enough. `too_early`: it did not get beyond keys."""

    def __init__(self, text: str, *, too_early: bool) -> None:
        super().__init__(text)
        self.too_early = too_early


Closed = tuple[MaskedSums, Ring]
"""Masked sums, and their numbers: uint32 (groups, length)."""


class Sums:
    """Closes and opens the masked sums of a run. What is closed is on disk until the round or evaluation is complete.

    Parameters
    ----------
    session : FleetSession
    checkpoints : Checkpoints
    ask : Ask
    limits : callable
        Limits of an exchange, from the number of clinics asked and how many it needs at least.
    note : callable
        Given the kind and the result of each exchange.
    """

    def __init__(
        self,
        session: FleetSession,
        checkpoints: Checkpoints,
        ask: Ask,
        limits: Callable[[int, int], RoundLimits],
        note: Callable[[Kind, ExchangeResult], None],
    ) -> None:
        self._session, self._run, self._store = session, session.run, session.context.store
        self._checkpoints, self._ask, self._limits, self._note = checkpoints, ask, limits, note

    def kept(self, number: int) -> Closed | None:
        """The masked sums that are on disk."""
        kept = self._checkpoints.masked(number)
        if kept is None:
            return None
        masked = MaskedSums.model_validate_json(kept[0])
        return masked, kept[1].reshape(len(masked.closed), -1)

    def close(self, terms: Terms, nodes: dict[str, Node], least: int, groups: RunGroups | None = None) -> Closed:
        """One attempt.

        Parameters
        ----------
        terms : Terms
        nodes : dict of str to Node
            The clinics that are asked.
        least : int
            Clinics that the sums need.
        groups : RunGroups, optional
            Where they are summed in groups, which are drawn here in a run's first round.

        Raises
        ------
        AttemptFailed
        """
        number, names = terms.round, nodes.keys()
        lines = {name: key for name, key in self._store.keys().items() if name in names}
        attempt = Attempt(terms, self._run.settings, lines, self._store.key_changes(lines))
        self._asked(
            "keys", number, nodes, self._limits(len(nodes), least), attempt.keys(groups.groups if groups else ())
        )
        if groups is not None:
            groups.draw(attempt.weights)
            rosters = attempt.close_rosters(groups.groups, groups.weights)
        else:
            rosters = attempt.close_rosters()
            least = max(least, rosters[0].threshold)
        asked = tuple(sorted(name for roster in rosters for name in roster.names))
        limits = self._limits(len(asked), least)
        self._asked("letters", number, self.nodes(asked), short_limits(limits, limits.quorum), attempt.letters())
        sharers = attempt.close_letters()
        limits = self._limits(len(sharers), least)
        result = self._asked(terms.kind, number, self.nodes(sharers), limits, attempt.vectors())
        masked, totals = attempt.close(result.accepted)
        self._checkpoints.save_masked(number, masked.model_dump_json(), totals.reshape(-1))
        return masked, totals

    def open(self, number: int, masked: MaskedSums, totals: Ring, least: int) -> Opening:
        """The sums without masks of at least so many clinics, or of as many as the threshold of a single sum.

        Raises
        ------
        AttemptFailed
        ProtocolError
            As `Opening`.
        """
        opening = Opening(masked, totals)
        if len(masked.closed) == 1:
            least = masked.closed[0].roster.threshold
        for kind, make in opening.steps():
            step, asked = make(), opening.survivors
            limits = short_limits(self._limits(len(asked), least), least)
            self._asked(kind, number, self.nodes(asked), limits, step)
        return opening

    def _asked(
        self, kind: Kind, number: int, nodes: dict[str, Node], limits: RoundLimits, step: Step
    ) -> ExchangeResult:
        result = self._ask(kind, number, nodes, limits, step)
        self._note(kind, result)
        if result.shortfall:
            reasons = "; ".join(f"{name}: {why.message}" for name, why in sorted(result.excluded.items()))
            raise AttemptFailed(f"{result.shortfall} {reasons}.", too_early=kind == "keys")
        return result

    def nodes(self, names: tuple[str, ...]) -> dict[str, Node]:
        """These clinics; one that is not connected is asked when it comes back."""
        known = self._session.nodes()
        return {name: known.get(name) or Node(name, 0, online=False, activated="") for name in names}


def short_limits(limits: RoundLimits, quorum: int) -> RoundLimits:
    """Limits of an exchange without work at the clinics: it waits no longer than needed for clinics that have gone."""
    patience = min(PATIENCE_S, limits.end_s)
    return RoundLimits(quorum, patience, limits.end_s - patience, shown_s=limits.deadline_s)
