"""The masked part of a run's evaluations: one attempt like that at a round, after which the hub knows pooled metrics.

Clinics confirm one such sum of a model. If the hub ends in between, it asks for the same one again.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from embryofl.errors import ProtocolError
from embryofl.messages import Kind
from embryofl.metrics import ScoreSums
from embryofl.pooled_metrics import BOUND, GROUP, LENGTH, LIMIT, Split, by_attack, from_vector
from embryofl.secagg.messages import Terms, digest
from embryofl.secagg.threshold import MIN_CLINICS
from embryofl_server.federation.checkpoint import Checkpoint, Checkpoints
from embryofl_server.federation.exchange_result import ExchangeResult
from embryofl_server.federation.fleet import Node
from embryofl_server.federation.fleet_session import FleetSession
from embryofl_server.federation.masking.attempt import Opening
from embryofl_server.federation.masking.sums import Ask, AttemptFailed, Sums
from embryofl_server.federation.round_limits import RoundLimits
from embryofl_server.runs.metrics_seen import describe_spent

log = logging.getLogger("embryofl.rounds")

ATTEMPTS = 4
RETRY_S = 5.0  # between two attempts to exchange keys


@dataclass(frozen=True)
class PooledMetrics:
    """What came of it.

    Attributes
    ----------
    asked : frozenset of str
        The clinics that were asked; none if they are too few to be summed.
    record : dict
        Its part of `model.json`: `clinics`, `group`, and the sums of each split; empty without a result.
    problem : str
        Why there is no result.
    spent : frozenset of str
        The clinics that declined because they have answered as many evaluations as their policies allow.
    why : dict of str to str
        Why clinics that were asked are not in the result.
    """

    asked: frozenset[str] = frozenset()
    record: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    spent: frozenset[str] = frozenset()
    why: dict[str, str] = field(default_factory=dict)


class MaskedEvaluation:
    """The evaluations of clinics that release metrics only under masks: the final one, and those on the way.

    Parameters
    ----------
    session : FleetSession
    checkpoints : Checkpoints
    ask : Ask
    limits : callable
        Limits of an exchange, from the number of clinics asked and how many it needs at least.
    kind : {"evaluate", "audit"}
    """

    def __init__(
        self,
        session: FleetSession,
        checkpoints: Checkpoints,
        ask: Ask,
        limits: Callable[[int, int], RoundLimits],
        kind: Literal["evaluate", "audit"] = "evaluate",
    ) -> None:
        self._kind: Literal["evaluate", "audit"] = kind
        self._session, self._run, self._store = session, session.run, session.context.store

        def as_needed(asked: int, least: int) -> RoundLimits:
            return limits(asked, least).with_quorum(least)

        self._sums = Sums(session, checkpoints, ask, as_needed, self._note)
        self._spent: set[str] = set()  # see `PooledMetrics`
        self._out: set[str] = set()  # whose replies were rejected, or of whom another one says so
        self._why: dict[str, str] = {}

    def on_the_way(self, model: Checkpoint, gather: Callable[[int], dict[str, Node]]) -> dict[str, Any]:
        """What the next round's record has of this round's model: nothing if it is none of `RunSettings.pooled_rounds`.

        Raises
        ------
        Halted, RunFailed
        """
        number = model.round
        if number not in self._run.settings.pooled_rounds:
            return {}
        pooled = self.collect(number, model, gather(number))
        clinics, spent = pooled.record.get("clinics", []), sorted(pooled.spent)
        self._run.event("pooled", round=number, clinics=clinics, spent=spent, words=pooled.problem)
        if not pooled.record:
            return {}
        return {"pooled": {key: pooled.record[key] for key in ("clinics", "group", "validation")}}

    def collect(self, number: int, model: Checkpoint, online: dict[str, Node]) -> PooledMetrics:
        """The pooled metrics of those of the clinics that release only these, by the model of round `number`.

        Raises
        ------
        Halted
        """
        self._spent, self._out, self._why = set(), set(), {}
        releases = self._store.releases()
        names = frozenset(name for name in online if releases.get(name) == "pooled")
        if len(names) < MIN_CLINICS:
            return PooledMetrics()
        summed = self._sum(number, model, names)
        why = {name: self._why[name] for name in sorted({*self._why} - {*summed.record.get("clinics", ())})}
        return replace(summed, asked=names, spent=frozenset(self._spent), why=why)

    def _sum(self, number: int, model: Checkpoint, names: frozenset[str]) -> PooledMetrics:
        until = time.time() + self._run.settings.join_wait_s
        attempt, problem, closed = 0, "", self._sums.kept(number)
        if closed is not None:
            names, attempt = frozenset(closed[0].closed[0].roster.names), closed[0].attempt
        while attempt < ATTEMPTS and time.time() < until and len(names) >= MIN_CLINICS:
            try:
                if closed is None:
                    attempt += 1
                    terms, nodes = self._terms(number, attempt, model), self._sums.nodes(tuple(sorted(names)))
                    closed = self._sums.close(terms, nodes, MIN_CLINICS)
                return self._opened(self._sums.open(number, *closed, MIN_CLINICS))
            except AttemptFailed as exc:
                problem = str(exc)
                names -= self._out | self._spent
                if closed is not None:  # clinics have confirmed it, maybe, and will confirm no other
                    names = frozenset(closed[0].closed[0].roster.names)
                closed = None
                self._run.event("attempt_failed", round=number, attempt=attempt, words=problem)
                log.warning("evaluation after round %d, attempt %d: %s", number, attempt, problem)
                self._session.pause(RETRY_S)
            except ProtocolError as exc:
                return PooledMetrics(problem=f"The masks of metrics cannot be removed: {exc}.")
        if self._spent:
            problem = f"The hub sees {describe_spent(self._spent)}."
        return PooledMetrics(problem=f"Metrics under masks could not be summed. {problem}")

    def _terms(self, number: int, attempt: int, model: Checkpoint) -> Terms:
        return Terms(
            run=self._run.name,
            round=number,
            kind=self._kind,
            attempt=attempt,
            model=model.record["sha256"],
            work=digest(self._run.settings),
            length=LENGTH,
            bound=BOUND,
        )

    def _opened(self, opening: Opening) -> PooledMetrics:
        survivors = opening.survivors
        for _, total in opening.sums():
            sums = from_vector(total)
            if problem := self._impossible(sums, survivors):
                return PooledMetrics(problem=problem)
            by_split: dict[str, Any] = {split: pooled.to_dict() for split, pooled in sums.items()}
            return PooledMetrics(record={"clinics": [*survivors], "group": GROUP, **by_split})
        raise opening.wrong[0]

    def _impossible(self, sums: dict[Split, ScoreSums], names: tuple[str, ...]) -> str:
        """Why a sum cannot be one of honest clinics; nobody can say whose part is wrong."""
        each = [self._store.clinic(name).most_embryos for name in names]
        found = sum(int(pooled.pooled().counts.sum()) for pooled in sums.values())
        if self._kind == "audit":  # each attack counts all patients
            attacks = {name: int(one.pooled().counts.sum()) for name, one in by_attack(sums).items()}
            guesses, canaries = attacks.pop("canaries", 0), len(names) * self._run.settings.audit_canaries
            if guesses > canaries:
                return f"Guesses of {guesses} canaries, but the run has {canaries} at these clinics: they are not used."
            found = max(attacks.values(), default=0)
        most = sum(n for n in each if n is not None)
        if None not in each and found > most:
            return f"Metrics over {found} embryos, but at most {most} are approved of these clinics: they are not used."
        return ""

    def _note(self, kind: Kind, result: ExchangeResult) -> None:
        for name, why in result.excluded.items():
            self._why[name] = why.message
            self._spent |= {name} if LIMIT in why.message else set()
            self._out |= ({name} if why.fault else set()) | ({name, why.accused} if why.accused else set())
