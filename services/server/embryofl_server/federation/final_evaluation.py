"""The evaluation of a run's final model: at the clinics of the run, or in an external validation at others."""

from collections.abc import Callable
from typing import Any, Protocol

from embryofl.messages import Kind
from embryofl_server.federation import gate
from embryofl_server.federation.checkpoint import Checkpoint
from embryofl_server.federation.exchange_result import ExchangeResult
from embryofl_server.federation.fleet import Node
from embryofl_server.federation.masking.evaluation import MaskedEvaluation, PooledMetrics
from embryofl_server.federation.round_limits import RoundLimits
from embryofl_server.federation.run_context import RunFailed


class AskAll(Protocol):
    """An exchange with the clinics."""

    def __call__(self, kind: Kind, number: int, nodes: dict[str, Node], *, limits: RoundLimits) -> ExchangeResult:
        """The clinics' replies."""


class FinalEvaluation:
    """Asks for it: under masks, and the clinics that release their own metrics each.

    Parameters
    ----------
    masked : MaskedEvaluation
    ask : AskAll
    limits : callable
        Limits of an exchange with so many clinics.
    count_rejections : callable
        Is given the number of the round and the replies.
    """

    def __init__(
        self,
        masked: MaskedEvaluation,
        ask: AskAll,
        limits: Callable[[int], RoundLimits],
        count_rejections: Callable[[int, ExchangeResult], None],
    ) -> None:
        self._masked, self._ask, self._limits, self._count_rejections = masked, ask, limits, count_rejections

    def of(self, model: Checkpoint, gathered: Callable[[], dict[str, Node]], least: int = 0) -> dict[str, Any]:
        """What clinics release, as it stands in `model.json`: `evaluation`, `pooled`, `spent`, `refused`, and why it is
        `incomplete`; and of clinics that did not answer, in words, `why`.

        Parameters
        ----------
        model : Checkpoint
        gathered : callable
            Waits for the clinics.
        least : int
            As many replies are enough; 0 = as the run's settings say.
        """
        number, result, pooled = model.round, ExchangeResult(), PooledMetrics()
        try:
            nodes = gathered()
            pooled = self._masked.collect(number, model, nodes)
            others = {name: node for name, node in nodes.items() if name not in pooled.asked}
            limits = self._limits(len(others)).at_most(least or len(others))
            result = self._ask("evaluate", number, others, limits=limits)
            self._count_rejections(number, result)
            problem = " ".join(filter(None, (result.shortfall, pooled.problem)))
        except RunFailed as exc:
            problem = str(exc)
        return {
            "evaluation": {name: _evaluation_of(accepted) for name, accepted in result.accepted.items()},
            "pooled": pooled.record,
            "spent": sorted(pooled.spent),
            "refused": result.reasons,
            "incomplete": problem,
            "why": {name: out.message for name, out in sorted(result.excluded.items())} | pooled.why,
        }


def _evaluation_of(accepted: gate.AcceptedReply) -> dict[str, Any]:
    """A clinic's part of `model.json`."""
    reply = accepted.reply
    evaluation = {"validation": reply.validation, "test": reply.test, "personal": reply.personal}
    if reply.grades:
        evaluation["grades"] = reply.model_dump()["grades"]
    return {key: value for key, value in evaluation.items() if value or key in ("validation", "test")}
