"""The round loop: ask the clinics, aggregate, save, repeat. Free of flwr and HTTP.

One exchange a round: each clinic evaluates the last round's model on its validation patients, trains from it and
replies with its update and both sets of metrics. After the last round comes the final evaluation. A run that is
interrupted resumes at the interrupted round, with the same seeds, from the last complete checkpoint.
"""

import collections
import contextlib
import ctypes
import logging
import threading
import time
from typing import Any

from embryofl.errors import UserError, with_code
from embryofl.local_work import local_steps, local_travel
from embryofl.masked_update import counted_examples
from embryofl.messages import MEASURED, Kind
from embryofl_server.federation import final_model, gate
from embryofl_server.federation.checkpoint import Checkpoint, Checkpoints, CorrectionFile
from embryofl_server.federation.exchange import Exchange
from embryofl_server.federation.exchange_result import ExchangeResult
from embryofl_server.federation.external import answered, check_model
from embryofl_server.federation.final_evaluation import FinalEvaluation
from embryofl_server.federation.fleet import Node
from embryofl_server.federation.fleet_session import FleetSession
from embryofl_server.federation.gathering import gather
from embryofl_server.federation.masking.evaluation import MaskedEvaluation
from embryofl_server.federation.masking.rounds import MaskedRounds
from embryofl_server.federation.masking.void import kept_model
from embryofl_server.federation.round_limits import AUTO_ROUNDS, RoundLimits, round_limits
from embryofl_server.federation.run_context import RunContext, RunFailed
from embryofl_server.federation.step import Step
from embryofl_server.federation.strategies import make_strategy
from embryofl_server.federation.strategies.base import Aggregation, ClinicUpdate, Round
from embryofl_server.runs import metric_lines
from embryofl_server.runs.log import Run
from embryofl_server.runs.view import RunView

log = logging.getLogger("embryofl.rounds")


class RoundLoop:
    """One run, from its last complete round to its end.

    Parameters
    ----------
    context : RunContext
    run : Run
    checkpoints : Checkpoints
        Must hold at least the initial model (round 0).
    halt : threading.Event
        Set from outside to stop between two steps.
    """

    def __init__(self, context: RunContext, run: Run, checkpoints: Checkpoints, halt: threading.Event) -> None:
        self._context, self._run, self._checkpoints = context, run, checkpoints
        self._session = FleetSession(context, run, halt)
        self._settings = run.settings
        self._strategy = make_strategy(self._settings)
        latest = checkpoints.latest()
        if latest is None:
            raise RunFailed(
                "R7", f"{run.name} has no intact checkpoint left, not even the initial model. Start a new run."
            )
        self._model: Checkpoint = latest
        self._layout = latest.layout()
        self._best: metric_lines.Best | None = None
        self._recent: collections.deque[dict[str, Any]] = collections.deque(maxlen=AUTO_ROUNDS)
        self._masked_rounds = MaskedRounds(
            self._session, checkpoints, self._strategy, self._ask_step, self._gather, self._limits
        )
        self._masked_evaluation = MaskedEvaluation(self._session, checkpoints, self._ask_step, self._limits)
        self._evaluation = FinalEvaluation(
            self._masked_evaluation, self._exchange, self._limits, self._count_rejections
        )

    def execute(self) -> str:
        """Run to the end; returns what was unusual about it ("" if nothing was).

        Raises
        ------
        Halted
            When `halt` was set; the run can be resumed.
        RunFailed
            When the run cannot continue.
        """
        settings, run = self._settings, self._run
        run.set_state("running", self._model.round)  # a kill between checkpoint and state would leave it one behind
        if self._model.round:
            run.event("resumed", round=self._model.round)
        records = self._checkpoints.records()
        self._recent.extend(records)
        lines = [line for r in records for line in metric_lines.record_lines(r)]
        run.rewrite_metrics(lines)
        self._best = metric_lines.best_round(lines)
        try:
            self._session.open()
            for number in range(self._model.round + 1, settings.rounds + 1):
                if metric_lines.no_better_since(self._best, self._model.round - 1, settings.patience):
                    run.event("stopped_early", round=self._model.round, best=self._best[0] if self._best else None)
                    break
                self._train_round(number)
            chosen = self._choose() if settings.choose == "best" else ""
            return " ".join(filter(None, (chosen, self._final_evaluation())))
        finally:
            self._session.close(self._model.round)

    def validate(self, job: dict[str, Any]) -> str:
        """Instead of `execute`, once the run is over: do what `external.pending` says; returns what was unusual about it.
        Raises as `execute` does."""
        run, final, clinics = self._run, RunView(self._run).model(), job["clinics"]
        if any(one["asked"] == job["asked"] for one in final.get("external", [])):
            return ""  # the hub ended just after it
        check_model(run, final)
        model = self._checkpoints.at(final["round"])
        if model is None:
            raise RunFailed("R7", f"The weights of round {final['round']} of {run.name} are damaged or missing.")
        self._model, done = model, run.state["round"]
        run.set_state("running", done)
        try:
            self._session.open()
            found = self._evaluation.of(model, lambda: gather(self._session, model.round, done, clinics), least=1)
        finally:
            self._session.close(done)
        found |= {"clinics": clinics, "asked": job["asked"], "origin": job["origin"]}
        final_model.add_validation(run, found, self._context.store.clinics())
        self._checkpoints.forget_masked(model.round)
        run.event("validated", round=model.round, clinics=sorted(answered(found)), refused=found["refused"])
        return str(found["incomplete"])

    def _gather(self, number: int) -> dict[str, Node]:
        return gather(self._session, number, self._model.round)

    # -- rounds -----------------------------------------------------------------------------------------------------
    def _train_round(self, number: int) -> None:
        pooled = self._masked_evaluation.on_the_way(self._model, self._gather)
        nodes = self._gather(number)
        began, sent = time.time(), self._model.record["sha256"]
        corrections = self._corrections(number, nodes)
        if self._settings.masked_weights:
            result = self._masked_rounds.collect(number, self._model, nodes)
        else:
            result = self._exchange("train", number, nodes, corrections)
        try:
            self._count_rejections(number, result)
            if result.shortfall:
                raise RunFailed("R4", result.shortfall)
            done = time.time()
            # Else buffers of many uploads stay in the heap, and aggregation takes more memory for 30 clinics than for 3.
            # A lower threshold for `mmap` would do as well, but uploads then take 1.5 times the processor time.
            with contextlib.suppress(OSError, AttributeError):  # without glibc
                ctypes.CDLL(None).malloc_trim(0)
            self._context.progress.phase("aggregating", number, self._settings.rounds)
            aggregation = self._aggregate(number, result)
            record = self._record(number, result, aggregation)
        finally:
            result.discard()
        record |= {"began": began, "seconds": {"clinics": round(done - began, 3)}, **pooled}
        lines = metric_lines.record_lines(record)
        self._best = best = metric_lines.best_round(lines, self._best)
        kept = best[0] if best else None
        self._model = self._checkpoints.save(number, aggregation.model, record, aggregation.state, kept)
        self._checkpoints.forget_masked(number - 1)
        self._recent.append(self._model.record)
        self._run.set_state("running", number)
        self._run.add_metrics(lines)
        sizes = {name: corrections[name].size for name in result.accepted if name in corrections}
        self._run.event(
            "round",
            round=number,
            accepted=list(result.accepted),
            refused=result.reasons,
            seconds=round(time.time() - began, 3),
            **({"control_bytes": sizes} if sizes else {}),
        )
        self._context.audit(
            "round",
            run=self._run.name,
            round=number,
            clinics=list(result.accepted),
            refused=result.reasons,
            model_sent=sent,
            model_made=self._model.record["sha256"],
        )
        log.info(
            "round %d of %d: %d updates in %.1f s", number, self._settings.rounds, len(result.accepted), done - began
        )

    def _aggregate(self, number: int, result: ExchangeResult) -> Aggregation:
        """The new model; of a void round an earlier one."""
        if not result.void:
            return self._strategy.aggregate(self._round(number, result), self._model.state())
        kept = kept_model(number, result, self._model, self._checkpoints, self._run, self._context)
        return Aggregation(kept.packed(), kept.state())

    def _corrections(self, number: int, nodes: dict[str, Node]) -> dict[str, CorrectionFile]:
        """The strategy's drift corrections, as files that the gateway serves; none for clinics that it has none for."""
        state = self._model.state()
        packed = {name: self._strategy.control(self._layout, state, name) for name in sorted(nodes)}
        return {n: self._checkpoints.save_correction(number, n, p) for n, p in packed.items() if p is not None}

    def _choose(self) -> str:
        """Make the model with the best validation AUROC the final one; returns a message if its weights are gone.

        The last model's metrics are requested here, those of the others came with the rounds. Test patients play no part.
        """
        result = self._exchange("validate", self._model.round, self._gather(self._model.round))
        sums = {n: reply.validation for n, reply in result.accepted.items() if reply.validation is not None}
        lines = metric_lines.split_lines(self._model.round, "validation", sums)
        self._run.add_metrics(lines)
        self._best = best = metric_lines.best_round(lines, self._best)
        if best is None or best[0] == self._model.round:
            return ""
        checkpoint = self._checkpoints.at(best[0])
        if checkpoint is None:
            return with_code(
                "R7", f"The best model, that of round {best[0]}, is damaged or missing: the last one was used."
            )
        self._run.event("chosen", round=best[0], auroc=best[1], last=self._model.round)
        self._model = checkpoint
        return ""

    def _round(self, number: int, result: ExchangeResult) -> Round:
        scale = self._settings.rate_scale(number)
        trained = {name: accepted.reply.examples for name, accepted in result.accepted.items() if accepted.update}
        counted = counted_examples(self._settings, self._strategy.sum_weights, trained)
        updates = (
            result.means.updates
            if result.means
            else [
                ClinicUpdate(
                    clinic=name,
                    path=accepted.update,
                    examples=counted[name],
                    norm=accepted.norm,
                    scale=result.scales[name],
                    steps=local_steps(self._settings.training, accepted.reply.examples),
                    loss=accepted.validation.summary().loss if accepted.validation is not None else None,
                    travel=local_travel(self._settings.training, accepted.reply.examples, scale),
                    train_loss=accepted.reply.train_loss,
                )
                for name, accepted in result.accepted.items()
                if accepted.update is not None
            ]
        )
        return Round(number, self._layout, self._model.packed(), updates, self._settings.proximal)

    def _record(self, number: int, result: ExchangeResult, aggregation: Aggregation) -> dict[str, Any]:
        clinics, shares = {}, result.means.shares if result.means else aggregation.shares
        for name, accepted in result.accepted.items():
            reply = accepted.reply
            clinics[name] = {
                "examples": reply.examples,
                "train_loss": reply.train_loss,
                **self._measured(accepted, aggregation),
                **reply.model_dump(include=MEASURED),
                "validation": reply.validation,
            }
            if reply.personal:
                clinics[name]["personal"] = reply.personal.get("validation")
            if result.scales[name] < 1:
                clinics[name]["scale"] = result.scales[name]
            if name in shares:
                clinics[name]["share"] = round(shares[name], 6)
        record = {"round": number, "clinics": clinics, "refused": result.reasons}
        if result.masking:
            record["masking"] = result.masking
        if result.void:
            record |= {"void": result.void, "void_sum": result.void_sum}
        if result.back_to is not None:
            record["back_to"] = result.back_to
        return record

    def _measured(self, accepted: gate.AcceptedReply, aggregation: Aggregation) -> dict[str, float]:
        """The norm of a clinic's update, and how far its model is from the new one; nothing of a masked update."""
        if accepted.update is None:
            return {}
        try:
            return {"norm": accepted.norm, "distance": gate.distance(accepted.update, self._layout, aggregation.model)}
        except gate.ReplyRejected as exc:
            raise RunFailed(
                "R6",
                f"Strategy {self._settings.strategy} made a model with numbers that are not finite; the last round's model "
                "is kept. Start a run with smaller learning rates, or with another strategy.",
            ) from exc

    def _final_evaluation(self) -> str:
        """Evaluate the final model. The model is written first, so that a failed evaluation costs nothing else."""
        number = self._model.round
        if not self._settings.closing_evaluation:
            record = self._write_model(incomplete="")
            self._run.event("finished", round=number, sha256=record["sha256"])
            return "without final evaluation, as set"
        self._write_model(incomplete="The model is complete, but its final evaluation was interrupted.")
        found = self._evaluation.of(self._model, lambda: self._gather(number))
        if problem := str(found["incomplete"]):
            problem = with_code("R4", f"The model is complete, but its final evaluation is not. {problem}")
        del found["why"]  # the run's events have it
        record = self._write_model(**{**found, "incomplete": problem})
        self._checkpoints.forget_masked(number)
        # If the best round was chosen, its validation metrics are already recorded.
        recorded = {(x["round"], x["clinic"], x["split"]) for x in RunView(self._run).lines()}
        lines = metric_lines.final_lines(record)
        self._run.add_metrics([x for x in lines if (x["round"], x["clinic"], x["split"]) not in recorded])
        self._run.event("finished", round=number, sha256=record["sha256"])
        return problem

    def _exchange(
        self,
        kind: Kind,
        number: int,
        nodes: dict[str, Node],
        corrections: dict[str, CorrectionFile] | None = None,
        limits: RoundLimits | None = None,
        step: Step | None = None,
    ) -> ExchangeResult:
        limits = limits or self._limits(len(nodes))
        return Exchange(self._session, self._model, kind, number, limits, corrections, step).run(nodes)

    def _ask_step(
        self, kind: Kind, number: int, nodes: dict[str, Node], limits: RoundLimits, step: Step
    ) -> ExchangeResult:
        return self._exchange(kind, number, nodes, limits=limits, step=step)

    def _limits(self, asked: int, least: int = 0) -> RoundLimits:
        return round_limits(self._settings, asked, max(least, self._strategy.min_updates), self._recent)

    def _count_rejections(self, number: int, result: ExchangeResult) -> None:
        """Count rejected replies in a row; a clinic that has too many is suspended."""
        store, most = self._context.store, self._settings.suspend_after
        faults = {name: (why.reason, why.message) for name, why in result.excluded.items() if why.fault}
        store.record_replies(self._run.name, number, result.accepted, faults)
        for name, (_, message) in sorted(faults.items()):
            in_a_row = len(store.rejections(name))
            if most and in_a_row >= most:
                # UserError: the clinic has left or was already suspended or revoked, so there is nothing to do.
                with contextlib.suppress(UserError):
                    reason = f"{in_a_row} replies in a row were rejected, the last because {message}"
                    self._context.suspend(name, reason)

    def _write_model(self, **more: Any) -> dict[str, Any]:
        clinics = self._context.store.clinics()
        return final_model.write_model(self._run, self._model, clinics, **more)
