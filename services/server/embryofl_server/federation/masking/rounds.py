"""Masked rounds: attempts until a sum is closed, then the mean of the updates in it, or a void round."""

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Protocol

from embryofl.errors import ProtocolError, UserError
from embryofl.masked_update import (
    add_mean,
    count_alarms,
    count_clipped,
    longest_mean,
    mean_scale,
    update_bound,
    vector_length,
)
from embryofl.messages import Kind, Reply, round_seed
from embryofl.metrics import ScoreSums
from embryofl.secagg.fixed_point import Ring
from embryofl.secagg.messages import Terms, digest
from embryofl.secagg.threshold import MAX_CLINICS, MIN_CLINICS
from embryofl_server.federation.checkpoint import Checkpoint, Checkpoints
from embryofl_server.federation.exchange_result import ExchangeResult, ExcludedReply, MeanUpdate
from embryofl_server.federation.fleet import Node
from embryofl_server.federation.fleet_session import FleetSession
from embryofl_server.federation.gate import AcceptedReply
from embryofl_server.federation.masking.attempt import Attempt, MaskedSum, Opening
from embryofl_server.federation.masking.votes import vote
from embryofl_server.federation.round_limits import RoundLimits
from embryofl_server.federation.run_context import RunFailed
from embryofl_server.federation.step import Step
from embryofl_server.federation.strategies.base import ClinicUpdate

log = logging.getLogger("embryofl.rounds")

MOST_ATTEMPTS = 5  # of a round that fail after its keys were exchanged
MOST_REPEATS = 10  # attempts of a round that repeat a sum
PATIENCE_S = 10.0  # how long letters, survivors and shares wait for clinics that are not needed
RETRY_FIRST_S, RETRY_MOST_S, RETRY_GROWTH = 5.0, 300.0, 1.6  # between two attempts to exchange keys
WRONG = "masking"  # reason of a reply that breaks the protocol


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


_Closed = tuple[MaskedSum, Ring]


class MaskedRounds:
    """The masked rounds of a run.

    Parameters
    ----------
    session : FleetSession
    checkpoints : Checkpoints
    longest_update : float
        Of the strategy.
    ask : Ask
    gather : callable
        Waits until enough clinics are online for a round.
    limits : callable
        Limits of a round, from the number of clinics asked and how many it needs at least.
    """

    def __init__(
        self,
        session: FleetSession,
        checkpoints: Checkpoints,
        longest_update: float,
        ask: Ask,
        gather: Callable[[int], dict[str, Node]],
        limits: Callable[[int, int], RoundLimits],
    ) -> None:
        self._session, self._run, self._store = session, session.run, session.context.store
        self._settings, self._checkpoints, self._longest = session.run.settings, checkpoints, longest_update
        self._ask, self._gather, self._limits = ask, gather, limits

    def collect(self, number: int, model: Checkpoint, nodes: dict[str, Node]) -> ExchangeResult:
        """The replies of a round, and the mean of their updates or why the round is void.

        Parameters
        ----------
        number : int
        model : Checkpoint
        nodes : dict of str to Node
            The clinics that are online.

        Raises
        ------
        Halted, RunFailed
        """
        excluded: dict[str, ExcludedReply] = {}
        same = self._void_sum(number)
        closed: _Closed | None = self._kept(number) or self._close_sum(number, model, nodes, excluded, same)
        result, until = ExchangeResult(), time.time() + self._limits(len(nodes), MIN_CLINICS).end_s
        while closed is not None:
            try:
                result = self._open_sum(number, model, *closed, excluded)
                break
            except AttemptFailed as exc:
                result = ExchangeResult(void=str(exc))
                result.void_sum = closed[0].closed.statement.survivors
                closed = self._close_sum_again(number, model, closed[0], str(exc), until)
        result.excluded = {name: why for name, why in excluded.items() if name not in result.accepted}
        return result

    def _void_sum(self, number: int) -> tuple[str, ...]:
        """The clinics of the sum of the round before, if that is void: from its model there can be no sum over others,
        because the difference could be one clinic's update."""
        before = self._checkpoints.at(number - 1)
        record = before.record if before else {}
        names, refused = tuple(record.get("void_sum", ())), record.get("refused", {})
        if wrong := [name for name in names if refused.get(name) == WRONG]:
            raise RunFailed(
                "R8",
                f"Round {number}: {', '.join(wrong)} made round {number - 1} void. The others confirm no sum of fewer "
                "clinics from the same model, because the difference could be one clinic's update. Start a new run "
                f"without {', '.join(wrong)}.",
            )
        return names

    def _kept(self, number: int) -> _Closed | None:
        """The masked sum that is on disk."""
        kept = self._checkpoints.masked(number)
        if kept is None:
            return None
        log.info("round %d: its masked sum is read back", number)
        return MaskedSum.model_validate_json(kept[0]), kept[1]

    # -- until the sum is closed ------------------------------------------------------------------------------------
    def _close_sum(
        self,
        number: int,
        model: Checkpoint,
        nodes: dict[str, Node],
        excluded: dict[str, ExcludedReply],
        same: tuple[str, ...],
    ) -> _Closed:
        since, failed, pause, attempt = time.time(), 0, RETRY_FIRST_S, 1
        while True:
            nodes = self._nodes(same) if same else self._clinics(number, nodes, excluded)
            try:
                return self._attempt(number, attempt, model, nodes, excluded, max(MIN_CLINICS, len(same)))
            except AttemptFailed as exc:
                reason, too_early = str(exc), exc.too_early
            self._note(number, attempt, reason)
            attempt += 1
            failed += not too_early
            if failed == MOST_ATTEMPTS:
                raise RunFailed("R8", f"{reason} This was attempt {failed} at the round, and there is no other.")
            if too_early:
                until = since + self._settings.join_wait_s
                if time.time() > until:
                    raise RunFailed("R8", reason)
                progress = self._session.context.progress
                progress.wait(sorted(nodes), since, until, "the run fails", reason)
                self._session.pause(pause)
                progress.go_on()
                pause = min(pause * RETRY_GROWTH, RETRY_MOST_S)
            nodes = self._gather(number)

    def _close_sum_again(
        self, number: int, model: Checkpoint, before: MaskedSum, reason: str, until: float
    ) -> _Closed | None:
        """The same sum in another attempt, for clinics that have lost their keys; None if that is not possible, and after
        `until` (Unix time).

        A clinic that has confirmed a sum confirms no other of this round. It makes the same vector again only with the
        same roster, and so all of its clinics have to be there.
        """
        names = before.closed.roster.names
        attempt = before.attempt
        while before.closed.statement.survivors == names and attempt < MOST_REPEATS and time.time() < until:
            self._note(number, attempt, reason)
            attempt += 1
            try:
                return self._attempt(number, attempt, model, self._nodes(names), {}, len(names))
            except AttemptFailed as exc:
                reason = str(exc)
        return None

    def _note(self, number: int, attempt: int, reason: str) -> None:
        self._run.event("attempt_failed", round=number, attempt=attempt, words=reason)
        log.warning("round %d, attempt %d: %s", number, attempt, reason)

    def _clinics(self, number: int, online: dict[str, Node], excluded: dict[str, ExcludedReply]) -> dict[str, Node]:
        """The clinics of an attempt: those online, without those whose replies were rejected in this round, and without
        those of which one says that the other's letter cannot be opened: either may lie."""
        at_fault = {name for name, why in excluded.items() if why.fault}
        for name, why in excluded.items():
            at_fault |= {name, why.accused} if why.accused else set()
        nodes = {name: node for name, node in online.items() if name not in at_fault}
        if len(nodes) < MIN_CLINICS:
            raise RunFailed(
                "R8",
                f"Round {number}: {len(nodes)} clinics are left for masks, which need {MIN_CLINICS}. Left out of "
                f"this round: {', '.join(sorted(at_fault))}. The run's events say why.",
            )
        drawn = sorted(nodes, key=lambda name: round_seed(self._settings.seed, number, name))[:MAX_CLINICS]
        return {name: nodes[name] for name in drawn}

    def _attempt(
        self,
        number: int,
        attempt: int,
        model: Checkpoint,
        nodes: dict[str, Node],
        excluded: dict[str, ExcludedReply],
        least: int = MIN_CLINICS,
    ) -> _Closed:
        def ask(kind: Kind, nodes: dict[str, Node], limits: RoundLimits, step: Step) -> ExchangeResult:
            result = self._ask(kind, number, nodes, limits, step)
            excluded.update(result.excluded)
            if result.shortfall:
                reasons = "; ".join(f"{name}: {why.message}" for name, why in sorted(result.excluded.items()))
                raise AttemptFailed(f"{result.shortfall} {reasons}.", too_early=kind == "keys")
            return result

        lines = {name: key for name, key in self._store.keys().items() if name in nodes}
        steps = Attempt(self._terms(number, attempt, model), self._settings, lines, self._store.key_changes(lines))
        ask("keys", nodes, self._limits(len(nodes), least), steps.keys())
        roster = steps.hub.close_roster()
        least = max(least, roster.threshold)
        limits = self._limits(len(roster.names), least)
        ask("letters", self._nodes(roster.names), short_limits(limits, limits.quorum), steps.letters())
        sharers = steps.hub.close_letters()
        result = ask("train", self._nodes(sharers), self._limits(len(sharers), least), steps.vectors())
        masked = steps.close(result.accepted)
        self._checkpoints.save_masked(number, masked.model_dump_json(), steps.hub.masked_sum)
        return masked, steps.hub.masked_sum

    def _terms(self, number: int, attempt: int, model: Checkpoint) -> Terms:
        layout, settings = model.layout(), self._settings
        return Terms(
            run=self._run.name,
            round=number,
            kind="train",
            attempt=attempt,
            model=model.record["sha256"],
            work=digest(settings),
            length=vector_length(layout),
            bound=update_bound(settings, number, layout, self._longest),
        )

    def _nodes(self, names: tuple[str, ...]) -> dict[str, Node]:
        return known_nodes(self._session, names)

    # -- then -------------------------------------------------------------------------------------------------------
    def _open_sum(
        self, number: int, model: Checkpoint, masked: MaskedSum, total: Ring, excluded: dict[str, ExcludedReply]
    ) -> ExchangeResult:
        closed = masked.closed
        roster, survivors = closed.roster, closed.statement.survivors
        limits = short_limits(self._limits(len(survivors), roster.threshold), roster.threshold)
        try:
            opening = Opening(closed, total, masked.lines)
            for kind, step in opening.steps():
                result = self._ask(kind, number, self._nodes(survivors), limits, step())
                excluded.update({name: why for name, why in result.excluded.items() if why.fault})
                if result.shortfall:
                    raise AttemptFailed(result.shortfall, too_early=False)
            total = opening.unmasking.total()
        except ProtocolError as exc:
            if exc.clinic in survivors:
                excluded[exc.clinic] = self._wrong(number, exc.clinic, str(exc))
            return ExchangeResult(void=f"The masks cannot be removed: {exc}.", void_sum=survivors)
        bound, part, alarms = roster.terms.bound, roster.share(survivors), count_alarms(total)
        if alarms > len(survivors):
            return ExchangeResult(
                void=f"The alarms of {len(survivors)} clinics add up to {alarms}: a clinic breaks the rules.",
                void_sum=survivors,
            )
        accepted = {name: _accepted(masked.replies[name]) for name in survivors}
        result = ExchangeResult(accepted, dict.fromkeys(survivors, 1.0))
        result.masking = {
            "attempt": masked.attempt,
            "roster": roster.names,
            "sharers": closed.statement.sharers,
            "survivors": survivors,
            "threshold": roster.threshold,
            "bound": bound,
            "clipped": min(count_clipped(total), len(survivors)),  # a clinic may count itself more than once
            "alarms": alarms,
        }
        if down := vote(number, alarms, len(survivors), self._checkpoints):
            result.void, result.void_sum, result.back_to = down.message, down.clinics, down.back_to
            return result
        packed, norm = add_mean(total, part, bound, model.packed(), model.layout())
        floats = model.layout().floats
        most = longest_mean(self._settings, bound, len(survivors), roster.threshold, part, floats)
        if not norm <= most:
            return ExchangeResult(
                void=f"The mean of the updates has the norm {norm:.6g}, expected at most {most:.6g}.",
                void_sum=survivors,
            )
        path = self._run.folder / f"round-{number:04d}.mean"
        packed.tofile(path)
        examples = [masked.replies[name].examples for name in survivors]
        update = ClinicUpdate("", path, sum(examples), norm, mean_scale(self._settings, examples))
        result.mean = MeanUpdate(update, {name: roster.share((name,), survivors) for name in survivors})
        return result

    def _wrong(self, number: int, name: str, message: str) -> ExcludedReply:
        """A clinic gave out shares of other seeds than it has signed. Nobody else can have done that: it is suspended."""
        self._run.event("refused", round=number, clinic=name, reason=WRONG, words=message)
        self._session.context.audit("update_refused", run=self._run.name, round=number, clinic=name, reason=WRONG)
        if self._settings.suspend_after:
            with contextlib.suppress(UserError):  # it has left, or is suspended
                self._session.context.suspend(name, message)
        return ExcludedReply(WRONG, message, fault=True)


def known_nodes(session: FleetSession, names: tuple[str, ...]) -> dict[str, Node]:
    """These clinics; one that is not connected is asked when it comes back."""
    known = session.nodes()
    return {name: known.get(name) or Node(name, 0, online=False, activated="") for name in names}


def short_limits(limits: RoundLimits, quorum: int) -> RoundLimits:
    """Limits of an exchange without work at the clinics: it waits no longer than needed for clinics that have gone."""
    patience = min(PATIENCE_S, limits.end_s)
    return RoundLimits(quorum, patience, limits.end_s - patience)


def _accepted(reply: Reply) -> AcceptedReply:
    """A reply that has passed the gate, maybe before this process was started."""
    validation = None if reply.validation is None else ScoreSums.from_dict(reply.validation)
    return AcceptedReply(reply, validation, None, None, 0.0)
