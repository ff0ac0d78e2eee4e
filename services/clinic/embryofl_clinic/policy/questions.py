"""The clinic's ledger of questions (`questions.json`): which evaluations and audits it has answered.

An answer is entered before it leaves. The same question again gets the same bytes and is no new one. What is declined: a
second model of a round, or the same run with other settings, because answers to models of a hub's choice add up to the
labels of single embryos; more evaluations than the policy allows in its time, and on the way of a run already one that
would leave too few for the rest of it, so that its final evaluation is answered; and the same question when the answer
would be another one, because the difference of two answers is that of the embryos that came or went. A run is audited once,
with the model of its final evaluation.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from embryofl.errors import ProtocolError, UserError
from embryofl.files import in_turn, write_atomic
from embryofl.membership import Releases
from embryofl.messages import Request
from embryofl.metrics import ScoredEmbryos
from embryofl.pooled_metrics import GROUP, LIMIT
from embryofl.schema import Sha256
from embryofl.secagg.messages import digest
from embryofl_clinic.policy.told import Told, differing, only_told, to_tell, told_of
from embryofl_clinic.privacy.answered import Answered

log = logging.getLogger("embryofl.policy")

FILE = "questions.json"
OTHERS = (
    "%s: the metrics under masks are of the %s embryos of an earlier answer. %d have come or been corrected since; they "
    "count once they are %d, because the difference of two answers would be theirs"
)
DAY_S = 86_400.0

Split = Literal["train", "validation", "test"]
"""Whose embryos an answer is about; of an evaluation those of training patients are no part."""


class Question(Answered):
    """An evaluation or audit that was answered.

    Attributes
    ----------
    kind : {"evaluate", "audit"}
    released : {"own", "pooled"}
        As exact sums, or under masks.
    answer : str
        SHA-256 of what was released.
    embryos : dict of str to int
        How many were evaluated, by split.
    told : dict of str to Told
        Which ones, by split, of an answer under masks; none where their images were not known.
    others : dict of str to int
        By how many embryos the clinic's data differed from these, by split.
    """

    kind: Literal["evaluate", "audit"] = "evaluate"
    released: Releases
    answer: Sha256
    embryos: dict[Split, int]
    told: dict[Split, Told] = {}
    others: dict[Split, int] = {}

    def is_of(self, request: Request) -> bool:
        """Whether a request asks for the same."""
        return self.kind == request.work and super().is_of(request)


_FORM = TypeAdapter(list[Question])
_DONE = {"evaluate": "evaluated", "audit": "audited"}


@dataclass(frozen=True)
class About:
    """What an answer is about, by split: the embryos, and what of them a `Question` has."""

    scored: dict[Split, ScoredEmbryos] = field(default_factory=dict)
    embryos: dict[Split, int] = field(default_factory=dict)
    told: dict[Split, Told] = field(default_factory=dict)
    others: dict[Split, int] = field(default_factory=dict)


class Questions:
    """Reads and writes the ledger.

    Parameters
    ----------
    state_dir : Path
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE

    def read(self) -> list[Question]:
        """All questions, oldest first.

        Raises
        ------
        UserError
            When the file is damaged: a clinic that forgets a question could answer it twice.
        """
        try:
            return _FORM.validate_json(self._path.read_bytes()) if self._path.exists() else []
        except (OSError, ValidationError) as exc:
            raise UserError(
                "J8",
                f"{self._path} cannot be read. Expected the evaluations that this clinic has answered. Restore it from a "
                "backup; until then no evaluation is answered.",
            ) from exc

    def reason_to_decline(self, request: Request, most: int, days: float) -> str:
        """Why an evaluation is not answered, in words that may leave the clinic; "" if it is.

        Parameters
        ----------
        request : Request
        most : int
            Answers under masks in `days`; 0 = no limit.
        days : float
        """
        return _logged(_reason(self.read(), request, most, days), request)

    def about(self, request: Request, now: Mapping[Split, tuple[Sequence[str], ScoredEmbryos]]) -> "About":
        """Which embryos an answer under masks is about.

        Parameters
        ----------
        request : Request
        now : mapping of str to (sequence of str, ScoredEmbryos)
            The embryos that there are: their ids and the embryos themselves, by split.

        Raises
        ------
        CannotTell
        """
        asked = self.read()
        same = [question for question in asked if question.is_of(request)]
        about = About()
        for split, (ids, embryos) in now.items():
            here = told_of(ids, embryos)
            before = [question.told[split] for question in same or asked if split in question.told]
            told = to_tell(here, before, split, again=bool(same)) if ids else {}
            about.scored[split] = only_told(embryos, ids, told)
            about.embryos[split] = len(about.scored[split].labels)
            if ids:
                about.told[split] = told
            if others := differing(here, told):
                about.others[split] = others
        return about

    def enter(self, request: Request, released: Releases, answer: str, about: About, most: int, days: float) -> None:
        """Enter an answer, before it leaves; `most` and `days` as in `reason_to_decline`.

        Raises
        ------
        ProtocolError
            When the question was answered under masks before, with another answer; or when it is declined, because of an
            answer that was entered since `reason_to_decline`.
        """
        with in_turn(self._path):
            asked = self.read()
            for question in asked:
                if question.is_of(request):
                    if question.released == "pooled" and question.answer != answer:
                        raise ProtocolError(
                            f"the evaluation of {request.run} after round {request.round} was answered before, and the "
                            "answer would be another one now, because the clinic's data or policy has changed; expected "
                            "the same until a run is over"
                        )
                    return
            if reason := _logged(_reason(asked, request, most, days), request):
                raise ProtocolError(reason)
            question = Question.now(
                request,
                kind=request.work,
                released=released,
                answer=answer,
                embryos=about.embryos,
                told=about.told,
                others=about.others,
            )
            for split, others in about.others.items():
                log.warning(OTHERS, request.run, split, others, GROUP)
            write_atomic(self._path, _FORM.dump_json([*asked, question], indent=1), 0o600)


def _reason(asked: Sequence[Question], request: Request, most: int, days: float) -> str:
    of_run = [question for question in asked if question.run == request.run]
    if any(question.is_of(request) for question in of_run):
        return ""
    if before := next((question for question in of_run if _excludes(question, request)), None):
        return f"{request.run} was {_DONE[before.kind]} before, with another model or settings; expected the same ones"
    audit, left = request.work == "audit", most - _recent(asked, days)
    needed = 1 if audit else request.settings.evaluations_from(request.round)
    if request.masking is not None and most and left < needed:
        budget = f"the clinic answers {max(left, 0)} more in {days:g} days ({LIMIT} = {most})"
        return f"{budget}, and the {'audit asks' if audit else 'run still asks'} for {needed}"
    return ""


def _recent(asked: Sequence[Question], days: float) -> int:
    """Answers under masks in so many days until now."""
    return sum(q.released == "pooled" and q.time > time.time() - days * DAY_S for q in asked)


def _excludes(question: Question, request: Request) -> bool:
    """Whether a question of the same run excludes this other one: a round has one model, and a run its settings, one audit,
    and one model that is audited and finally evaluated."""
    if question.work != digest(request.settings):
        return True
    if question.kind == request.work:
        return request.work == "audit" or request.masking is None or question.round == request.round
    if question.kind == "evaluate" and question.round in request.settings.pooled_rounds:
        return question.round == request.round
    return (question.round, question.model) != (request.round, request.model.sha256)


def _logged(reason: str, request: Request) -> str:
    if reason:
        log.warning(
            "declined: the hub asked for an %s of the model %s after round %d of %s, but %s",
            "audit" if request.work == "audit" else "evaluation",
            request.model.sha256[:12],
            request.round,
            request.run,
            reason,
        )
    return reason


def describe_questions(asked: Sequence[Question], most: int, days: float) -> str:
    """The ledger for people: a line for each question, and what is left."""
    if not asked:
        lines = ["No evaluation has been answered yet."]
    else:
        lines = [
            f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(q.time))}  {q.run}, round {q.round}, model {q.model[:12]}: "
            + (f"audit, {q.embryos.get('train', 0)} training, " if q.kind == "audit" else "")
            + f"{q.embryos.get('validation', 0)} validation and {q.embryos.get('test', 0)} test embryos, "
            f"{'own exact sums' if q.released == 'own' else 'a sum with other clinics, under masks'}"
            for q in asked
        ]
    left = f"{max(0, most - _recent(asked, days))} of {most}" if most else "any number"
    return "\n".join([*lines, f"Under masks, {left} more will be answered in {days:g} days ({LIMIT})."])
