"""Masked rounds: attempts until a sum is closed, then the mean of the updates in it, or a void round."""

import logging
import time
from collections.abc import Callable
from typing import Protocol

from embryofl.errors import ProtocolError
from embryofl.masked_update import add_mean, count_clipped, mean_scale, update_bound, vector_length
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
from embryofl_server.federation.round_limits import RoundLimits
from embryofl_server.federation.run_context import RunFailed
from embryofl_server.federation.step import Step
from embryofl_server.federation.strategies.base import ClinicUpdate

log = logging.getLogger("embryofl.rounds")

MOST_ATTEMPTS = 5  # of a round whose keys were exchanged
PATIENCE_S = 10.0  # how long letters, survivors and shares wait for clinics that are not needed
RETRY_FIRST_S, RETRY_MOST_S, RETRY_GROWTH = 5.0, 300.0, 1.6  # between two attempts to exchange keys
ROUNDING = 1e-6  # a mean may be this much longer than the bound


class Ask(Protocol):
    """`Exchange` with what the run has in common."""

    def __call__(
        self, kind: Kind, number: int, nodes: dict[str, Node], limits: RoundLimits, step: Step
    ) -> ExchangeResult:
        """One exchange."""


class AttemptFailed(Exception):
    """Too few clinics are left in an attempt; another one may have enough."""


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

    def collect(self, number: int, model: Checkpoint) -> ExchangeResult:
        """The replies of a round, and the mean of their updates or why the round is void.

        Raises
        ------
        Halted, RunFailed
        """
        excluded: dict[str, ExcludedReply] = {}
        kept = self._checkpoints.masked(number)
        if kept is not None:
            masked, total = MaskedSum.model_validate_json(kept[0]), kept[1]
            log.info("round %d: its masked sum is read back", number)
        else:
            masked, total = self._close_sum(number, model, excluded)
            self._checkpoints.save_masked(number, masked.model_dump_json(), total)
        result = self._open_sum(number, model, masked, total)
        result.excluded = {n: why for n, why in (excluded | result.excluded).items() if n not in result.accepted}
        return result

    # -- until the sum is closed ------------------------------------------------------------------------------------
    def _close_sum(self, number: int, model: Checkpoint, excluded: dict[str, ExcludedReply]) -> tuple[MaskedSum, Ring]:
        since, failed, pause, attempt = time.time(), 0, RETRY_FIRST_S, 0
        while True:
            attempt += 1
            nodes = self._clinics(number, {name for name, why in excluded.items() if why.fault})
            stage = _Stage()
            try:
                return self._attempt(number, attempt, model, nodes, excluded, stage)
            except AttemptFailed as exc:
                reason = str(exc)
            self._run.event("attempt_failed", round=number, attempt=attempt, words=reason)
            log.warning("round %d, attempt %d: %s", number, attempt, reason)
            failed += stage.keys_exchanged
            if failed == MOST_ATTEMPTS:
                raise RunFailed(f"{reason} This was attempt {attempt} at the round.")
            if not stage.keys_exchanged:
                until = since + self._settings.join_wait_s
                if time.time() > until:
                    raise RunFailed(reason)
                self._session.context.progress.wait(sorted(nodes), since, until, "the run fails", reason)
                self._session.pause(pause)
                self._session.context.progress.go_on()
                pause = min(pause * RETRY_GROWTH, RETRY_MOST_S)

    def _clinics(self, number: int, at_fault: set[str]) -> dict[str, Node]:
        """The clinics of an attempt: those online, without those whose replies were rejected in this round."""
        nodes = {name: node for name, node in self._gather(number).items() if name not in at_fault}
        if len(nodes) < MIN_CLINICS:
            raise RunFailed(
                f"Round {number}: {len(nodes)} clinics are left for masks, which need {MIN_CLINICS}. Rejected in this "
                f"round: {', '.join(sorted(at_fault))}. The run's events say why."
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
        stage: "_Stage",
    ) -> tuple[MaskedSum, Ring]:
        def ask(kind: Kind, nodes: dict[str, Node], limits: RoundLimits, step: Step) -> ExchangeResult:
            result = self._ask(kind, number, nodes, limits, step)
            excluded.update(result.excluded)
            if result.shortfall:
                reasons = "; ".join(f"{name}: {why.message}" for name, why in sorted(result.excluded.items()))
                raise AttemptFailed(f"{result.shortfall} {reasons}.")
            return result

        lines = {name: key for name, key in self._store.keys().items() if name in nodes}
        steps = Attempt(self._terms(number, attempt, model), self._settings, lines)
        ask("keys", nodes, self._limits(len(nodes), MIN_CLINICS), steps.keys())
        stage.keys_exchanged = True
        roster = steps.hub.close_roster()
        limits = self._limits(len(roster.names), roster.threshold)
        ask("letters", self._nodes(roster.names), _short(limits, limits.quorum), steps.letters())
        sharers = steps.hub.close_letters()
        limits = self._limits(len(sharers), roster.threshold)
        result = ask("train", self._nodes(sharers), limits, steps.train())
        replies = {name: accepted.reply for name, accepted in result.accepted.items()}
        return MaskedSum(attempt=attempt, closed=steps.hub.close_sum(), replies=replies), steps.hub.masked_sum

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
        """These clinics; one that is not connected is asked when it comes back."""
        known = self._session.nodes()
        return {name: known.get(name) or Node(name, 0, online=False, activated="") for name in names}

    # -- then -------------------------------------------------------------------------------------------------------
    def _open_sum(self, number: int, model: Checkpoint, masked: MaskedSum, total: Ring) -> ExchangeResult:
        closed, excluded = masked.closed, dict[str, ExcludedReply]()
        roster, survivors = closed.roster, closed.statement.survivors
        limits = _short(self._limits(len(survivors), roster.threshold), roster.threshold)
        try:
            opening = Opening(closed, total, self._store.keys())
            steps: list[tuple[Kind, Callable[[], Step]]]
            steps = [("survivors", opening.survivors), ("shares", opening.shares)]
            for kind, step in steps:
                result = self._ask(kind, number, self._nodes(survivors), limits, step())
                excluded |= {name: why for name, why in result.excluded.items() if why.fault}
                if result.shortfall:
                    return ExchangeResult(excluded=excluded, void=result.shortfall)
            total = opening.unmasking.total()
        except ProtocolError as exc:
            return ExchangeResult(excluded=excluded, void=f"The masks cannot be removed: {exc}.")
        bound, part = roster.terms.bound, roster.share(survivors)
        packed, norm = add_mean(total, part, bound, model.packed(), model.layout())
        if not norm <= bound * (1 + ROUNDING):
            return ExchangeResult(
                excluded=excluded,
                void=f"The mean of the updates has the norm {norm:.6g}, expected at most {bound:.6g}.",
            )
        path = self._run.folder / f"round-{number:04d}.mean"
        packed.tofile(path)
        examples = [masked.replies[name].examples for name in survivors]
        update = ClinicUpdate("", path, sum(examples), norm, mean_scale(self._settings, examples))
        record = {
            "attempt": masked.attempt,
            "roster": roster.names,
            "sharers": closed.statement.sharers,
            "survivors": survivors,
            "threshold": roster.threshold,
            "bound": bound,
            "clipped": count_clipped(total),
        }
        shares = {name: roster.share((name,), survivors) for name in survivors}
        accepted = {name: _accepted(masked.replies[name]) for name in survivors}
        scales = dict.fromkeys(survivors, 1.0)
        return ExchangeResult(accepted, scales, excluded, mean=MeanUpdate(update, shares, record))


class _Stage:
    """How far an attempt came."""

    keys_exchanged = False


def _short(limits: RoundLimits, quorum: int) -> RoundLimits:
    """Limits of an exchange without work at the clinics: it waits no longer than needed for clinics that have gone."""
    patience = min(PATIENCE_S, limits.end_s)
    return RoundLimits(quorum, patience, limits.end_s - patience)


def _accepted(reply: Reply) -> AcceptedReply:
    """A reply that has passed the gate, maybe before this process was started."""
    validation = None if reply.validation is None else ScoreSums.from_dict(reply.validation)
    return AcceptedReply(reply, validation, None, None, 0.0)
