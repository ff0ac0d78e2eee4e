"""The audit of a run that is over: its clinics attack its final model, and count whom they tell apart.

It asks as a final evaluation does: clinics that release pooled metrics under masks, all others on their own. Each clinic's
policy and ledger of questions decide whether it answers.
"""

import json
import threading
import time
from dataclasses import dataclass
from typing import Any

from embryofl.errors import UserError
from embryofl.files import append
from embryofl.messages import Kind
from embryofl.metrics import ScoreSums
from embryofl.pooled_metrics import SPLITS, Split, by_attack
from embryofl_server.federation.checkpoint import Checkpoint, Checkpoints
from embryofl_server.federation.exchange import Exchange
from embryofl_server.federation.exchange_result import ExchangeResult
from embryofl_server.federation.fleet import Node
from embryofl_server.federation.fleet_session import FleetSession
from embryofl_server.federation.gathering import PRESENCE_S
from embryofl_server.federation.masking.evaluation import MaskedEvaluation
from embryofl_server.federation.round_limits import RoundLimits
from embryofl_server.federation.run_context import RunContext
from embryofl_server.federation.step import Step
from embryofl_server.report.write import write_report
from embryofl_server.runs.log import Run
from embryofl_server.runs.view import RunView

JOIN_S = 30.0  # for clinics that are not online
ANSWER_S = 600.0


@dataclass(frozen=True)
class _Audited(Run):
    """Events of an audit are none of the run's: these were read when it ended."""

    def event(self, kind: str, **details: Any) -> None:
        line = json.dumps({"time": round(time.time(), 3), "kind": kind, **details})
        append(self.folder / "audit-events.jsonl", line + "\n")


class PrivacyAudit:
    """Audits a run.

    Parameters
    ----------
    context : RunContext
    run : Run
        It is over, and has a final model.
    checkpoints : Checkpoints
    halt : threading.Event
        Set from outside to stop between two steps.

    Raises
    ------
    UserError
        When the final model's weights are gone.
    """

    def __init__(self, context: RunContext, run: Run, checkpoints: Checkpoints, halt: threading.Event) -> None:
        self._context, self._run, self._view = context, run, RunView(run).refresh()
        self._session = FleetSession(context, _Audited(run.name, run.folder), halt)
        self._record = self._view.model()
        model = checkpoints.at(self._record["round"])
        if model is None:
            raise UserError("R7", f"The weights of {run.name} are no longer on the hub, so it cannot be audited.")
        self._model: Checkpoint = model
        self._masked = MaskedEvaluation(self._session, checkpoints, self._ask, _limits, "audit")
        self._checkpoints = checkpoints

    def execute(self) -> dict[str, Any]:
        """Ask the clinics, write `audit.json`, results and card; returns what the file has.

        Raises
        ------
        Halted
            When `halt` was set. Clinics that have answered answer the same question again.
        """
        number = self._model.round
        try:
            self._session.open()
            nodes, declined = self._gather()
            pooled = self._masked.collect(number, self._model, nodes)
            others = {name: node for name, node in nodes.items() if name not in pooled.asked}
            result = self._ask("audit", number, others, _limits(len(others), 1)) if others else ExchangeResult()
        finally:
            self._session.close(number)
        declined |= pooled.why | {name: why.message for name, why in result.excluded.items()}
        audit = {
            "run": self._run.name,
            "round": number,
            "sha256": self._record["sha256"],
            "time": time.time(),
            "pooled": {attack: sums.to_dict() for attack, sums in by_attack(_summed(pooled.record)).items()},
            "clinics": pooled.record.get("clinics", []),
            "own": {name: accepted.reply.audit for name, accepted in result.accepted.items() if accepted.reply.audit},
            "declined": dict(sorted(declined.items())),
            "problem": pooled.problem,
        }
        self._run.write("audit.json", json.dumps(audit))
        self._checkpoints.forget_masked(number)
        write_report(self._run, self._record, list(self._view.records()), self._context.store.clinics())
        return audit

    def _gather(self) -> tuple[dict[str, Node], dict[str, str]]:
        """The clinics that took part and are online, after waiting for the others; and why others are not asked."""
        until, took_part = time.time() + JOIN_S, self._view.took_part
        while True:
            clinics = self._context.store.clinics()
            enrolled = {name for name in took_part if name in clinics and clinics[name].state == "enrolled"}
            online = {n: node for n, node in sorted(self._session.nodes().items()) if node.online and n in enrolled}
            away = enrolled - {*online}
            if not away or time.time() > until:
                gone = dict.fromkeys(took_part - enrolled, "it is no longer enrolled")
                return online, gone | dict.fromkeys(away, "it was not online")
            self._session.pause(PRESENCE_S)

    def _ask(
        self, kind: Kind, number: int, nodes: dict[str, Node], limits: RoundLimits, step: Step | None = None
    ) -> ExchangeResult:
        return Exchange(self._session, self._model, kind, number, limits, step=step).run(nodes)


def _summed(record: dict[str, Any]) -> dict[Split, ScoreSums]:
    return {split: ScoreSums.from_dict(record[split]) for split in SPLITS if split in record}


def _limits(asked: int, least: int) -> RoundLimits:
    return RoundLimits(min(asked, max(least, 1)), ANSWER_S, 0.0)
