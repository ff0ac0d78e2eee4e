"""Void rounds: what is recorded of them, which model they keep, and when there are too many."""

import logging

from embryofl.errors import with_code
from embryofl_server.federation.checkpoint import Checkpoint, Checkpoints
from embryofl_server.federation.exchange_result import ExchangeResult
from embryofl_server.federation.run_context import RunContext, RunFailed
from embryofl_server.runs.log import Run

log = logging.getLogger("embryofl.rounds")

MOST_VOID = 3  # rounds in a row without a result, or from one model that were voted down; then the run fails


def kept_model(
    number: int, result: ExchangeResult, model: Checkpoint, checkpoints: Checkpoints, run: Run, context: RunContext
) -> Checkpoint:
    """The model of a void round: the one it began with, or an earlier one that clinics have voted to take again.

    Parameters
    ----------
    number : int
    result : ExchangeResult
        Of the round, which is void.
    model : Checkpoint
        The round began with it.
    checkpoints : Checkpoints
    run : Run
    context : RunContext

    Raises
    ------
    RunFailed
    """
    void = with_code("R8", result.void)
    if result.back_to is None:
        run.event("void", round=number, words=void)
        log.warning("round %d is void, its model stays that of the round before: %s", number, void)
        earlier = [record for record in checkpoints.records() if record["round"] < number]
        if sum(bool(record.get("void")) for record in earlier[1 - MOST_VOID :]) + 1 == MOST_VOID:
            raise RunFailed("R8", f"{MOST_VOID} rounds in a row are void. {result.void} The clinics' logs say more.")
        return model
    before = checkpoints.at(result.back_to)
    assert before is not None  # `votes` has looked
    sha256 = before.record["sha256"]
    run.event("rolled_back", round=number, to=result.back_to, words=void)
    context.audit("rolled_back", run=run.name, round=number, to=result.back_to, model=sha256)
    log.warning("round %d is void: %s", number, void)
    if sum("back_to" in record and record["sha256"] == sha256 for record in checkpoints.records()) + 1 == MOST_VOID:
        raise RunFailed(
            "R8",
            f"Clinics have voted down {MOST_VOID} models that were trained from that of round {result.back_to}. Their logs "
            "say how much worse these are. Start a run with a lower learning_rate, or find out which clinic sends bad "
            "updates.",
        )
    return before
