"""The round loop: ask the clinics, aggregate, save, go on. Knows nothing of flwr or HTTP.

One exchange a round: each clinic evaluates the last round's model on its validation patients, trains from it and
replies with its update and both sets of metrics. After the last round one evaluation closes the run. Whatever is
interrupted is taken up at the round under way, with the same seeds, from the last complete checkpoint.
"""

import collections
import contextlib
import logging
import threading
import time
from typing import Any

from embryofl.errors import UserError
from embryofl.messages import MEASURED
from embryofl_server.federation import final_model, gate
from embryofl_server.federation.checkpoint import Checkpoint, Checkpoints, CorrectionFile
from embryofl_server.federation.exchange import Exchange, ExchangeResult
from embryofl_server.federation.lifeline import RunContext, RunFailed, SuperLinkSession
from embryofl_server.federation.memory import trim_heap
from embryofl_server.federation.strategies import Aggregation, ClinicUpdate, Round, Steering, make_strategy
from embryofl_server.federation.strategies.local_work import local_steps, local_travel
from embryofl_server.federation.superlink import Node
from embryofl_server.federation.terms import AUTO_ROUNDS, round_limits
from embryofl_server.runs import metric_lines
from embryofl_server.runs.log import Run
from embryofl_server.runs.view import RunView

log = logging.getLogger("embryofl.rounds")


class RoundLoop:
    """One run, from wherever it stands to its end.

    Parameters
    ----------
    hub : RunContext
    run : Run
    checkpoints : Checkpoints
        Must hold at least the initial model (round 0).
    halt : threading.Event
        Set from outside to stop between two steps.
    """

    def __init__(self, hub: RunContext, run: Run, checkpoints: Checkpoints, halt: threading.Event) -> None:
        self._hub, self._run, self._checkpoints = hub, run, checkpoints
        self._lifeline = SuperLinkSession(hub, run, halt)
        self._settings = run.settings
        self._strategy = make_strategy(self._settings)
        latest = checkpoints.latest()
        if latest is None:
            raise RunFailed(f"No whole checkpoint of {run.name} is left, not even the initial model. Start a new run.")
        self._model: Checkpoint = latest
        self._layout = latest.layout()
        self._late: dict[str, str] = {}
        self._best: metric_lines.Best | None = None
        self._recent: collections.deque[dict[str, Any]] = collections.deque(maxlen=AUTO_ROUNDS)

    def execute(self) -> str:
        """Run to the end; returns what there is to say about it ("" when all went as it should).

        Raises
        ------
        Halted
            When `halt` was set; the run can be taken up again.
        RunFailed
            When it cannot go on.
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
            self._lifeline.open()
            for number in range(self._model.round + 1, settings.rounds + 1):
                if metric_lines.no_better_since(self._best, self._model.round - 1, settings.patience):
                    run.event("stopped_early", round=self._model.round, best=self._best[0] if self._best else None)
                    break
                self._train_round(number)
            chosen = self._choose() if settings.choose == "best" else ""
            return " ".join(filter(None, (chosen, self._closing_evaluation())))
        finally:
            self._lifeline.close()
            self._hub.progress.phase("idle", self._model.round, settings.rounds)
            self._hub.progress.go_on()

    # -- rounds -----------------------------------------------------------------------------------------------------
    def _train_round(self, number: int) -> None:
        nodes = self._gather(number)
        began, sent = time.time(), self._model.record["sha256"]
        controls = self._controls(number, nodes)
        answers = self._exchange("train", number, nodes, controls)
        try:
            self._note_refusals(number, answers)
            if answers.short:
                raise RunFailed(answers.short)
            done = time.time()
            trim_heap()
            self._hub.progress.phase("aggregating", number, self._settings.rounds)
            outcome = self._strategy.aggregate(self._round(number, answers), self._model.state())
            record = self._record(number, answers, outcome)
        finally:
            answers.discard()
        record |= {"began": began, "seconds": {"clinics": round(done - began, 3)}}
        lines = metric_lines.record_lines(record)
        self._best = best = metric_lines.best_round(lines, self._best)
        self._model = self._checkpoints.save(number, outcome.model, record, outcome.state, best[0] if best else None)
        self._recent.append(self._model.record)
        self._run.set_state("running", number)
        control = {n: controls[n].size for n in answers.accepted if n in controls}
        more = {"control_bytes": control} if control else {}
        self._run.event(
            "round",
            round=number,
            accepted=list(answers.accepted),
            refused=answers.reasons,
            seconds=round(time.time() - began, 3),
            **more,
        )
        self._hub.audit(
            "round",
            run=self._run.name,
            round=number,
            clinics=list(answers.accepted),
            refused=answers.reasons,
            model_sent=sent,
            model_made=self._model.record["sha256"],
        )
        self._run.add_metrics(lines)
        log.info(
            "round %d of %d: %d updates in %.1f s", number, self._settings.rounds, len(answers.accepted), done - began
        )

    def _controls(self, number: int, nodes: dict[str, Node]) -> dict[str, CorrectionFile]:
        """What the strategy has for each clinic beside the model, as files that the gateway serves."""
        if not isinstance(self._strategy, Steering):
            return {}
        state, found = self._model.state(), {}
        for name in sorted(nodes):
            packed = self._strategy.control(self._layout, state, name)
            if packed is not None:
                found[name] = self._checkpoints.save_control(number, name, packed)
        return found

    def _choose(self) -> str:
        """Make the model with the best validation figures the final one; says so where its weights are gone. The last
        model's are asked for here, those of the others came with the rounds; nothing of the test patients is looked at."""
        answers = self._exchange("validate", self._model.round, self._gather(self._model.round))
        sums = {n: a.validation for n, a in answers.accepted.items() if a.validation is not None}
        lines = metric_lines.split_lines(self._model.round, "validation", sums)
        self._run.add_metrics(lines)
        self._best = best = metric_lines.best_round(lines, self._best)
        if best is None or best[0] == self._model.round:
            return ""
        found = self._checkpoints.at(best[0])
        if found is None:
            return f"The best model, that of round {best[0]}, is damaged or gone: the last one was taken."
        self._run.event("chosen", round=best[0], auroc=best[1], last=self._model.round)
        self._model = found
        return ""

    def _round(self, number: int, answers: ExchangeResult) -> Round:
        scale = self._settings.rate_scale(number)
        updates = [
            ClinicUpdate(
                name,
                a.update,
                a.reply.examples,
                a.norm,
                answers.scales[name],
                local_steps(self._settings.training, a.reply.examples),
                a.validation.summary().loss if a.validation is not None else None,
                local_travel(self._settings.training, a.reply.examples, scale),
                a.reply.train_loss,
            )
            for name, a in answers.accepted.items()
            if a.update is not None
        ]
        return Round(number, self._layout, self._model.packed(), updates, self._settings.proximal)

    def _record(self, number: int, answers: ExchangeResult, outcome: Aggregation) -> dict[str, Any]:
        clinics = {}
        for name, a in answers.accepted.items():
            clinics[name] = {
                "examples": a.reply.examples,
                "train_loss": a.reply.train_loss,
                "norm": a.norm,
                "distance": self._distance(a, outcome),
                **a.reply.model_dump(include=MEASURED),
                "validation": a.reply.validation,
            }
            if a.reply.personal:
                clinics[name]["personal"] = a.reply.personal.get("validation")
            if answers.scales[name] < 1:
                clinics[name]["scale"] = answers.scales[name]
            if name in outcome.shares:
                clinics[name]["share"] = round(outcome.shares[name], 6)
        return {"round": number, "clinics": clinics, "refused": answers.reasons}

    def _distance(self, accepted: gate.Accepted, outcome: Aggregation) -> float:
        """How far a clinic's model is from the new one."""
        assert accepted.update is not None
        try:
            return gate.distance(accepted.update, self._layout, outcome.model)
        except gate.ReplyRejected as exc:
            raise RunFailed(
                f"Strategy {self._settings.strategy} made a model with numbers that are not finite; the last round's model "
                "is kept. Start a run with smaller steps (its learning rates), or with another strategy."
            ) from exc

    def _closing_evaluation(self) -> str:
        """Evaluate the final model. It is written first: whatever becomes of its evaluation, the model is there."""
        record = self._write_model(
            evaluation={},
            incomplete="The model is complete, its closing evaluation is not: it was cut off."
            if self._settings.closing_evaluation
            else "",
        )
        number, short = self._model.round, ""
        if not self._settings.closing_evaluation:
            self._run.event("finished", round=number, sha256=record["sha256"])
            return "without closing evaluation, as it was set"
        answers = ExchangeResult({}, {}, {})
        try:
            answers = self._exchange("evaluate", number, self._gather(number))
            self._note_refusals(number, answers)
            short = answers.short
        except RunFailed as exc:
            short = str(exc)
        if short:
            short = f"The model is complete, its closing evaluation is not. {short}"
        evaluation = {
            n: {"validation": a.reply.validation, "test": a.reply.test}
            | ({"personal": a.reply.personal} if a.reply.personal else {})
            | ({"grades": a.reply.model_dump()["grades"]} if a.reply.grades else {})
            for n, a in answers.accepted.items()
        }
        record = self._write_model(evaluation=evaluation, refused=answers.reasons, incomplete=short)
        # Choosing the best round has brought validation figures already.
        known = {(x["round"], x["clinic"], x["split"]) for x in RunView(self._run).lines()}
        lines = metric_lines.final_lines(record)
        self._run.add_metrics([x for x in lines if (x["round"], x["clinic"], x["split"]) not in known])
        self._run.event("finished", round=number, sha256=record["sha256"])
        return short

    def _exchange(
        self, kind: Any, number: int, nodes: dict[str, Node], controls: dict[str, CorrectionFile] | None = None
    ) -> ExchangeResult:
        terms = round_limits(self._settings, len(nodes), self._strategy.least_clinics, self._recent)
        before = [c["norm"] for c in self._model.record.get("clinics", {}).values()]
        exchange = Exchange(
            self._hub, self._run, self._lifeline, self._model, kind, number, terms, self._late, before, controls
        )
        return exchange.hold(nodes)

    def _note_refusals(self, number: int, answers: ExchangeResult) -> None:
        """Count refusals in a row; too many and the clinic is out until the coordinator lets it in again."""
        store, most = self._hub.store, self._settings.suspend_after
        faults = {n: (why.reason, why.words) for n, why in answers.left_out.items() if why.fault}
        store.record_replies(self._run.name, number, answers.accepted, faults)
        for name, (_, words) in sorted(faults.items()):
            in_a_row = len(store.rejections(name))
            if most and in_a_row >= most:
                # It may have left, or been suspended or revoked, meanwhile: then there is nothing more to do.
                with contextlib.suppress(UserError):
                    self._hub.suspend(name, f"{in_a_row} answers in a row were refused, the last because {words}")

    def _write_model(self, **more: Any) -> dict[str, Any]:
        return final_model.write_model(self._run, self._model, self._checkpoints, self._hub.store.clinics(), **more)

    # -- who takes part ---------------------------------------------------------------------------------------------
    def _gather(self, number: int) -> dict[str, Node]:
        """Wait until `min_clinics` are online; returns them by name."""
        settings, progress = self._settings, self._hub.progress
        since, said = time.time(), None
        until = since + settings.join_wait_s
        while True:
            clinics = self._hub.store.clinics()
            enrolled = [n for n, c in clinics.items() if c.state == "enrolled"]
            online = {n: node for n, node in self._lifeline.nodes().items() if node.online and n in enrolled}
            if len(online) >= settings.min_clinics:
                if said is not None:
                    self._run.set_state("running", self._model.round)
                progress.go_on()
                return online
            missing = sorted(set(enrolled) - set(online))
            suspended = sorted(n for n, c in clinics.items() if c.state == "suspended")
            progress.phase("waiting", number, settings.rounds)
            progress.begin(sorted(online), "online")
            for name in missing:
                progress.clinic(name, "offline")
            why = f"{len(online)} of at least {settings.min_clinics} clinics are online"
            if suspended:
                why += f"; suspended: {', '.join(suspended)}"
            progress.wait(missing, since, until, "the run stops", why)
            if said != (missing, why):
                said = (missing, why)
                self._run.set_state("waiting", self._model.round, why)
                self._run.event("waiting", round=number, why=why, missing=missing)
            if time.time() > until:
                raise RunFailed(
                    f"{why} after waiting {settings.join_wait_s:g} s; missing: {', '.join(missing) or 'not enrolled yet'}."
                    " See to it that they run, or start a run with a smaller min_clinics."
                )
            self._lifeline.pause(0.3)
