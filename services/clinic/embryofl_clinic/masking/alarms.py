"""Alarms: under the masks of a round, this clinic reports that the model is worse for its own validation patients than the
model before. The hub learns how many clinics do, and with half of them it takes the model before again.

An alarm depends on data, and a hub chooses the models. So the threshold is a secret of the clinic, drawn for each round and
model: one of `FEWEST_EMBRYOS` embryos moves the chance of an alarm by a third at most, whatever its label and the models. A
clinic with fewer embryos raises none, and no clinic more than `MOST` in `DAYS`.
"""

import logging
import time
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError

from embryofl.files import in_turn, write_atomic
from embryofl.messages import Request
from embryofl.metrics import ScoredEmbryos
from embryofl.schema import Name, Sha256, Strict
from embryofl_clinic.masking.noise_key import noise_key

log = logging.getLogger("embryofl.clinic")

FILE = "masking/alarms.json"
FEWEST_EMBRYOS = 40
WORST_LOSS = 2.0  # at which an embryo's loss is cut, so that none of them decides alone
THRESHOLD = 0.2, 0.5  # drawn in between
MOST, DAYS = 3, 90.0
KEEP_ROUNDS = 5


class RoundLoss(Strict):
    """The mean loss of the model that a round began with, and of the model before, if this clinic has seen it."""

    model: Sha256
    loss: float
    before: float | None


class RaisedAlarm(Strict):
    """An alarm: Unix time, and which model it was about."""

    time: float
    run: Name
    round: int
    model: Sha256


class AlarmState(Strict):
    """The newest rounds of one run, and the alarms that were raised in any."""

    run: Name | None = None
    rounds: dict[int, RoundLoss] = Field(default_factory=dict)
    raised: list[RaisedAlarm] = Field(default_factory=list)


class Alarms:
    """The clinic's alarms, in `masking/alarms.json`.

    Parameters
    ----------
    state_dir : Path
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir, self._path = state_dir, state_dir / FILE

    def vote(self, request: Request, embryos: ScoredEmbryos) -> bool:
        """Whether this clinic raises an alarm about the request's model, which has given these scores.

        It is on disk before it leaves, and the same request has the same answer, also after a restart.
        """
        if not request.settings.alarms or len(embryos.labels) < FEWEST_EMBRYOS:
            return False
        with in_turn(self._path):
            state = self._read()
            losses = _losses(state, request, cut_loss(embryos))
            now = losses.rounds[request.round]
            alarm = now.before is not None and self._raises(losses, request, now.loss - now.before)
            write_atomic(self._path, losses.model_dump_json(indent=1).encode(), 0o600)
        if alarm:
            log.warning(
                "round %d: the model has a mean loss of %.2f on this clinic's validation patients, the one before %.2f. An "
                "alarm leaves under the mask",
                request.round,
                now.loss,
                now.before,
            )
        return alarm

    def _raises(self, state: AlarmState, request: Request, worse_by: float) -> bool:
        """Whether the model is so much worse that there is an alarm, which is then entered into the state."""
        about = request.run, request.round, request.model.sha256
        if about in {(one.run, one.round, one.model) for one in state.raised}:
            return True
        low, high = THRESHOLD
        key = noise_key(self._state_dir, "alarm", *about)
        if worse_by <= low + (high - low) * int.from_bytes(key[:8], "big") / 2**64:
            return False
        now = time.time()
        state.raised[:] = [one for one in state.raised if one.time > now - DAYS * 86_400]
        if len(state.raised) >= MOST:
            log.warning(
                "round %d: the model is worse than the one before, but this clinic has raised %d alarms in %.0f days and "
                "raises no more",
                request.round,
                MOST,
                DAYS,
            )
            return False
        state.raised.append(RaisedAlarm(time=now, run=about[0], round=about[1], model=about[2]))
        return True

    def _read(self) -> AlarmState:
        try:
            return AlarmState.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return AlarmState()
        except ValidationError:
            log.error("%s is damaged and begins again: alarms that were raised before do not count", self._path)
            return AlarmState()


def cut_loss(embryos: ScoredEmbryos) -> float:
    """The mean log loss, each embryo's cut at `WORST_LOSS`."""
    hit = np.where(embryos.labels == 1, embryos.scores, 1 - embryos.scores)
    return float(-np.log(np.clip(hit, np.exp(-WORST_LOSS), 1)).mean())


def _losses(state: AlarmState, request: Request, loss: float) -> AlarmState:
    """The state with this round's loss, and no later rounds: a round that is repeated makes them obsolete."""
    earlier = {n: one for n, one in state.rounds.items() if n < request.round} if state.run == request.run else {}
    model, last = request.model.sha256, earlier.get(request.round - 1)
    if last is None:  # the first round, or one that this clinic has missed
        before = None
    elif last.model == model:  # the round before was void: the question is the same again
        before = last.before
    else:  # a model that is back again is not compared with the one that was voted down
        before = None if model in {one.model for one in earlier.values()} else last.loss
    rounds = {**earlier, request.round: RoundLoss(model=model, loss=loss, before=before)}
    newest = dict(sorted(rounds.items())[-KEEP_ROUNDS:])
    return AlarmState(run=request.run, rounds=newest, raised=state.raised)
