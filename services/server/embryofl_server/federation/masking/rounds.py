"""Masked rounds: attempts until sums are closed, then the means of the updates in them, or a void round."""

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

from embryofl.errors import ProtocolError, UserError
from embryofl.masked_update import update_bound, vector_length
from embryofl.messages import Kind, Reply, round_seed
from embryofl.metrics import ScoreSums
from embryofl.secagg.groups import FEWEST, in_sums, least_clinics
from embryofl.secagg.messages import Terms, digest
from embryofl.secagg.threshold import MAX_CLINICS, MIN_CLINICS
from embryofl_server.federation.checkpoint import Checkpoint, Checkpoints
from embryofl_server.federation.exchange_result import ExchangeResult, ExcludedReply, MeanUpdates
from embryofl_server.federation.fleet import Node
from embryofl_server.federation.fleet_session import FleetSession
from embryofl_server.federation.gate import AcceptedReply
from embryofl_server.federation.masking.attempt import MaskedSums, Opening
from embryofl_server.federation.masking.groups import RunGroups
from embryofl_server.federation.masking.means import RoundSums, median_of
from embryofl_server.federation.masking.sums import Ask, AttemptFailed, Closed, Sums
from embryofl_server.federation.masking.votes import vote
from embryofl_server.federation.round_limits import RoundLimits
from embryofl_server.federation.run_context import RunFailed
from embryofl_server.federation.strategies.base import Strategy
from embryofl_server.members.store import GONE, state_label

log = logging.getLogger("embryofl.rounds")

MOST_ATTEMPTS = 5  # of a round that fail after its keys were exchanged
MOST_REPEATS = 10  # attempts of a round that repeat a sum
RETRY_FIRST_S, RETRY_MOST_S, RETRY_GROWTH = 5.0, 300.0, 1.6  # between two attempts to exchange keys
WRONG = "masking"  # reason of a reply that breaks the protocol


class MaskedRounds:
    """The masked rounds of a run.

    Parameters
    ----------
    session : FleetSession
    checkpoints : Checkpoints
    strategy : Strategy
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
        strategy: Strategy[Any],
        ask: Ask,
        gather: Callable[[int], dict[str, Node]],
        limits: Callable[[int, int], RoundLimits],
    ) -> None:
        self._session, self._run, self._store = session, session.run, session.context.store
        self._settings, self._checkpoints, self._strategy = session.run.settings, checkpoints, strategy
        self._gather, self._limits = gather, limits
        self._sums = Sums(session, checkpoints, ask, limits, self._note_excluded)
        self._excluded: dict[str, ExcludedReply] = {}  # in this round
        self._late: list[str] = []  # clinics without a group
        grouped = self._settings.grouped
        self._groups = RunGroups(self._run) if grouped else None
        self._least = least_clinics(max(FEWEST, strategy.min_updates)) if grouped else MIN_CLINICS

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
        self._excluded = {}
        same = self._void_sum(number)
        closed: Closed | None = self._sums.kept(number) or self._close(number, model, nodes, same)
        result, until = ExchangeResult(), time.time() + self._limits(len(nodes), self._least).end_s
        while closed is not None:
            masked, totals = closed
            try:
                result = self._opened(number, model, masked, self._sums.open(number, masked, totals, self._least))
                break
            except AttemptFailed as exc:
                result = ExchangeResult(void=str(exc), void_sum=masked.survivors)
                closed = self._close_again(number, model, masked, str(exc), until)
            except ProtocolError as exc:
                result = ExchangeResult(void=f"The masks cannot be removed: {exc}.", void_sum=masked.survivors)
                break
        result.excluded = {name: why for name, why in self._excluded.items() if name not in result.accepted}
        return result

    def _note_excluded(self, kind: Kind, result: ExchangeResult) -> None:
        """After its vector has come, only what breaks the rules excludes a clinic."""
        late = kind in ("survivors", "shares")
        self._excluded |= {name: why for name, why in result.excluded.items() if why.fault or not late}

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

    def _absent(self, names: tuple[str, ...], counts: Callable[[str], bool]) -> str:
        """Those of the clinics whose state counts, and those that are gone, each with its state: "dora (left)"."""
        clinics = self._store.clinics()
        states = {name: clinics[name].state if name in clinics else "left" for name in names}  # "left": renamed
        return ", ".join(f"{name} ({state_label(state)})" for name, state in states.items() if counts(state))

    # -- until the sums are closed ----------------------------------------------------------------------------------
    def _close(self, number: int, model: Checkpoint, nodes: dict[str, Node], same: tuple[str, ...]) -> Closed:
        since, failed, pause, attempt = time.time(), 0, RETRY_FIRST_S, 1
        while True:
            if gone := self._absent(same, GONE.__contains__):
                raise RunFailed(
                    "R8",
                    f"Round {number}: updates to this model were summed before with {gone}. The other clinics confirm no "
                    "sum of fewer from the same model, because the difference could be one clinic's update. Start a new "
                    "run.",
                )
            nodes = self._sums.nodes(same) if same else self._clinics(number, nodes)
            least = max(self._least, len(same))
            try:
                return self._sums.close(self._terms(number, attempt, model), nodes, least, self._groups)
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

    def _close_again(
        self, number: int, model: Checkpoint, before: MaskedSums, reason: str, until: float
    ) -> Closed | None:
        """The same sums in another attempt, for clinics that have lost their keys; None if that is not possible, and after
        `until` (Unix time).

        A clinic that has confirmed a sum confirms no other of this round. It makes the same vector again only with the
        same roster, and so all of its clinics have to be there.
        """
        names, attempt = before.survivors, before.attempt
        while before.lacks_none and attempt < MOST_REPEATS and time.time() < until:
            self._note(number, attempt, reason)
            attempt += 1
            try:
                terms, nodes = self._terms(number, attempt, model), self._sums.nodes(names)
                return self._sums.close(terms, nodes, len(names), self._groups)
            except AttemptFailed as exc:
                reason = str(exc)
        return None

    def _note(self, number: int, attempt: int, reason: str) -> None:
        self._run.event("attempt_failed", round=number, attempt=attempt, words=reason)
        log.warning("round %d, attempt %d: %s", number, attempt, reason)

    def _clinics(self, number: int, online: dict[str, Node]) -> dict[str, Node]:
        """The clinics of an attempt: those online, without those whose replies were rejected in this round, and without
        those of which one says that the other's letter cannot be opened: either may lie. Where groups have been drawn, only
        clinics of groups."""
        excluded = self._excluded
        at_fault = {name for name, why in excluded.items() if why.fault}
        for name, why in excluded.items():
            at_fault |= {name, why.accused} if why.accused else set()
        nodes = {name: node for name, node in online.items() if name not in at_fault}
        count = len(nodes)
        if self._groups is not None and self._groups.weights:
            groups = dict.fromkeys(self._groups.groups, MIN_CLINICS)
            count = in_sums({*self._groups.weights} - at_fault, groups)
            self._note_late(number, sorted({*nodes} - {*self._groups.weights}))
            nodes = {name: node for name, node in nodes.items() if name in self._groups.weights}
        if count < self._least:
            what = "masks in groups" if self._groups else "masks"
            raise RunFailed(
                "R8",
                f"Round {number}: {count} clinics are left for {what}, which need {self._least}. Left out of "
                f"this round: {', '.join(sorted(at_fault))}. The run's events say why.",
            )
        drawn = sorted(nodes, key=lambda name: round_seed(self._settings.seed, number, name))[:MAX_CLINICS]
        return {name: nodes[name] for name in drawn}

    def _note_late(self, number: int, names: list[str]) -> None:
        """Say once of clinics that they have no group."""
        if names != self._late:
            self._late = names
            words = "they were not there when the groups of this run were drawn, and wait for the next run"
            self._run.event("no_group", round=number, clinics=names, words=words)
            log.info("round %d: %s: %s", number, ", ".join(names), words)

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
            bound=update_bound(settings, number, layout, self._strategy.longest_update),
        )

    # -- then -------------------------------------------------------------------------------------------------------
    def _opened(self, number: int, model: Checkpoint, masked: MaskedSums, opening: Opening) -> ExchangeResult:
        sums = RoundSums(opening.sums(), opening.left_out)
        for wrong in opening.wrong:
            if wrong.clinic in masked.survivors:
                self._excluded[wrong.clinic] = self._wrong(number, wrong.clinic, str(wrong))
        sums.check_alarms()
        if len(sums.survivors) < self._least:
            return self._void(number, masked, sums)
        result = self._counted(masked, sums)
        voted_down = ""
        if down := vote(number, sums.alarms, len(sums.survivors), self._checkpoints):
            if not (absent := self._absent(down.clinics, lambda state: state != "enrolled")):
                result.void, result.void_sum, result.back_to = down.followed, down.clinics, down.back_to
                return result
            voted_down = down.not_followed(absent)
            self._run.event("not_rolled_back", round=number, words=voted_down)
            log.warning("round %d: %s", number, voted_down)
        updates = sums.updates(self._settings, model, masked.replies, self._run.folder)
        if len(sums.survivors) < self._least:
            for update in updates:
                update.path.unlink()
            return self._void(number, masked, sums)
        self._note_left_out(number, sums)
        result = self._counted(masked, sums)
        if voted_down:
            result.masking["voted_down"] = voted_down
        if self._groups is None:
            roster, names = sums.sums[0][0].roster, sums.survivors
            cap = self._settings.share_cap
            result.means = MeanUpdates(updates, {name: roster.share((name,), cap, names) for name in names})
        elif self._strategy.sum_weights:
            result.means = MeanUpdates([median_of(updates, model, self._run.folder)], {})
        else:
            result.means = MeanUpdates(updates, {})
        return result

    @staticmethod
    def _counted(masked: MaskedSums, sums: RoundSums) -> ExchangeResult:
        accepted = {name: _accepted(masked.replies[name]) for name in sums.survivors}
        result = ExchangeResult(accepted, dict.fromkeys(sums.survivors, 1.0))
        result.masking = sums.record(masked.attempt)
        return result

    def _void(self, number: int, masked: MaskedSums, sums: RoundSums) -> ExchangeResult:
        self._note_left_out(number, sums)
        return ExchangeResult(void=sums.why(), void_sum=masked.survivors)

    def _note_left_out(self, number: int, sums: RoundSums) -> None:
        for group in self._groups.groups if self._groups else ():
            if names := [name for name in group if name in sums.left_out]:
                words = sums.left_out[names[0]]
                self._run.event("left_out", round=number, clinics=names, words=words)
                log.warning("round %d: the group of %s is left out: %s", number, ", ".join(names), words)

    def _wrong(self, number: int, name: str, message: str) -> ExcludedReply:
        """A clinic gave out shares of other seeds than it has signed. Nobody else can have done that: it is suspended."""
        self._run.event("refused", round=number, clinic=name, reason=WRONG, words=message)
        self._session.context.audit("update_refused", run=self._run.name, round=number, clinic=name, reason=WRONG)
        if self._settings.suspend_after:
            with contextlib.suppress(UserError):  # it has left, or is suspended
                self._session.context.suspend(name, message)
        return ExcludedReply(WRONG, message, fault=True)


def _accepted(reply: Reply) -> AcceptedReply:
    """A reply that has passed the gate, maybe before this process was started."""
    validation = None if reply.validation is None else ScoreSums.from_dict(reply.validation)
    return AcceptedReply(reply, validation, None, None, 0.0)
