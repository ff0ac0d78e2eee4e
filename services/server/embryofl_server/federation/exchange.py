"""One exchange: every clinic is asked, answers are collected and checked, and the exchange closes by its terms.

A clinic that lost its message is asked again; one whose answer cannot be taken is left out, with a reason. Updates wait
in their upload files: whose update is too long is decided when the exchange closes, so that the order in which answers
arrive changes nothing.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from embryofl.errors import NotFiniteError
from embryofl.messages import Request
from embryofl.schema import Download
from embryofl_server.federation import gate
from embryofl_server.federation.blobs import MODEL_PREFIX
from embryofl_server.federation.checkpoint import Checkpoint, CorrectionFile
from embryofl_server.federation.lifeline import RunContext, SuperLinkSession
from embryofl_server.federation.superlink import Answer, LinkLost, Node
from embryofl_server.federation.terms import RoundLimits
from embryofl_server.runs.log import Run

POLL_FAST_S, POLL_SLOW_S, POLL_GROWTH = 0.05, 1.0, 1.3  # pauses between two looks for answers
PRESENCE_S = 2.0  # between two looks at who is online
UNHEARD_S = 5.0  # a clinic that is idle so long after it was asked has not got the message
URL_SLACK_S = 120.0  # how much longer than the round its URLs live

Kind = Literal["train", "validate", "evaluate"]
_DOING = {"train": "training", "validate": "evaluating", "evaluate": "evaluating"}


@dataclass
class PendingReply:
    """One clinic in one exchange: what it was sent and when, and when it had last connected when it was sent."""

    name: str
    upload: str = ""
    request: Request | None = None
    sent: float = 0.0
    activated: str = ""
    ids: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ExcludedReply:
    """Why a clinic's answer does not count. `fault`: it was refused at the gate, which counts towards suspension."""

    reason: str
    words: str
    fault: bool = False


@dataclass
class ExchangeResult:
    """What an exchange brought.

    Attributes
    ----------
    accepted : dict of str to Accepted
        By clinic, in the order of names.
    scales : dict of str to float
        How much of each accepted update counts (the gate's clipping).
    left_out : dict of str to ExcludedReply
    short : str
        Why there are too few; empty when there are enough.
    """

    accepted: dict[str, gate.Accepted]
    scales: dict[str, float]
    left_out: dict[str, ExcludedReply]
    short: str = ""

    @property
    def reasons(self) -> dict[str, str]:
        """Short reasons of those left out."""
        return {name: left.reason for name, left in sorted(self.left_out.items())}

    def discard(self) -> None:
        """Delete the updates' files."""
        for accepted in self.accepted.values():
            if accepted.update is not None:
                accepted.update.unlink(missing_ok=True)


class Exchange:
    """One question to `nodes`.

    Parameters
    ----------
    hub : RunContext
    run : Run
    lifeline : SuperLinkSession
    model : Checkpoint
        The global model that is sent.
    kind : {"train", "evaluate"}
    number : int
        Of the round.
    terms : RoundLimits
    late : dict of str to str
        Messages of closed exchanges that were never answered, and their clinics. Added to, and taken from.
    norms_before : list of float
        Norms of the last round's accepted updates.
    controls : mapping of str to CorrectionFile, optional
        What clinics are sent beside the model.
    """

    def __init__(
        self,
        hub: RunContext,
        run: Run,
        lifeline: SuperLinkSession,
        model: Checkpoint,
        kind: Kind,
        number: int,
        terms: RoundLimits,
        late: dict[str, str],
        norms_before: list[float],
        controls: Mapping[str, CorrectionFile] | None = None,
    ) -> None:
        self._controls = controls or {}
        self._hub, self._run, self._lifeline, self._model = hub, run, lifeline, model
        self._kind, self._number, self._terms, self._late = kind, number, terms, late
        self._settings, self._layout = run.settings, model.layout()
        self._norms_before = norms_before
        self._accepted: dict[str, gate.Accepted] = {}
        self._left_out: dict[str, ExcludedReply] = {}
        self._waiting: dict[str, PendingReply] = {}
        self._asked = 0
        self._began = self._look = 0.0

    def hold(self, nodes: dict[str, Node]) -> ExchangeResult:
        """Ask, wait, check.

        Raises
        ------
        Halted
        """
        uploads, progress = self._hub.uploads, self._hub.progress
        for name in sorted(nodes):
            self._waiting[name] = PendingReply(name)
            if self._kind == "train":
                upload = uploads.expect(self._run.name, self._number, name, self._layout.size)
                self._waiting[name].upload = upload
        tickets = [a.upload for a in self._waiting.values() if a.upload]
        self._asked, self._began = len(nodes), time.time()
        progress.phase(_DOING[self._kind], self._number, self._settings.rounds)
        progress.begin(sorted(nodes), _DOING[self._kind])
        terms = self._terms
        progress.terms(self._began + terms.deadline_s, terms.deadline_s, terms.needed)
        try:
            short = self._collect(nodes)
            return self._close(short)
        except BaseException:
            ExchangeResult(self._accepted, {}, {}).discard()
            raise
        finally:
            uploads.forget(tickets)
            progress.closed()
            progress.go_on()

    # -- collecting -------------------------------------------------------------------------------------------------
    def _collect(self, nodes: dict[str, Node]) -> str:
        """Until the terms are met: "" then, or why they cannot be."""
        arrived = self._hub.uploads.arrived
        self._look = time.time() + PRESENCE_S
        self._guarded(lambda: self._send(list(self._waiting.values()), nodes))
        self._say_waiting()
        pause = self._first_pause()
        while self._waiting:
            self._lifeline.pause(pause, arrived)
            pause = min(pause * POLL_GROWTH, POLL_SLOW_S)
            if arrived.is_set():
                arrived.clear()
                pause = POLL_FAST_S
                self._lifeline.pause(pause)  # the answer follows its upload
            if self._guarded(self._read_answers):
                pause = self._first_pause()
                self._say_waiting()
            if self._waiting and time.time() > self._look:
                self._look = time.time() + PRESENCE_S
                self._guarded(self._see_who_is_there)
                self._say_waiting()
            since = time.time() - self._began
            if since > self._terms.deadline_s and self._usable() >= self._terms.needed:
                return ""
            if since > self._terms.end_s:
                return self._too_few_in_time()
        return "" if self._usable() >= self._terms.needed else self._too_few_at_all()

    def _first_pause(self) -> float:
        """A good answer to training is told by its upload, so there is nothing to look for often before one is there."""
        uploads = [a.upload for a in self._waiting.values() if a.upload]
        soon = not uploads or any(map(self._hub.uploads.complete, uploads))
        return POLL_FAST_S if soon else POLL_SLOW_S

    def _guarded(self, step: Callable[[], object]) -> bool:
        """Do something with the SuperLink; when it is lost, bring it back and forget what was asked of the old one."""
        try:
            return bool(step())
        except LinkLost as exc:
            self._lifeline.recover(str(exc))
            for a in self._waiting.values():
                a.ids, a.activated = [], ""
            self._late.clear()
            self._look = 0.0
            return False

    def _read_answers(self) -> bool:
        by_id = {i: a for a in self._waiting.values() for i in a.ids}
        answers = self._hub.link.answers([*by_id, *self._late])
        for answer in answers:
            asked = by_id.get(answer.message_id)
            if asked is None or asked.name not in self._waiting:
                self._note_late(answer.message_id)
            elif answer.lost:
                asked.ids, asked.activated, self._look = [], "", 0.0
                self._hub.progress.clinic(asked.name, "offline", "its connection broke off; it is asked again")
            elif answer.error:
                self._take_error(asked.name, answer)
            else:
                self._take(asked, answer.text)
        return bool(answers)

    def _take_error(self, name: str, answer: Answer) -> None:
        if answer.refusal:
            self._leave(name, "refused", ExcludedReply(answer.error, answer.refusal, fault=True))
            return
        reason = "not_finite" if answer.error == NotFiniteError.__name__ else "clinic_error"
        words = f"the clinic failed with {answer.error}; its own log says more"
        self._leave(name, "failed", ExcludedReply(reason, words))

    def _take(self, asked: PendingReply, text: str) -> None:
        assert asked.request is not None
        try:
            reply = gate.parse(text, asked.request)
            clinic = self._hub.store.clinics()[asked.name]
            ticket = self._hub.uploads.collect(asked.upload) if asked.upload else None
            try:
                result = gate.check(reply, asked.request, clinic, ticket, self._layout, self._model.packed())
            except gate.ReplyRejected:
                if ticket:
                    ticket.path.unlink(missing_ok=True)
                raise
        except gate.ReplyRejected as exc:
            self._leave(asked.name, "refused", ExcludedReply(exc.reason, str(exc), exc.fault))
            return
        del self._waiting[asked.name]
        self._accepted[asked.name] = result
        self._hub.progress.clinic(asked.name, "done")

    def _note_late(self, message_id: str) -> None:
        name = self._late.pop(message_id, None)
        if name:
            words = "its answer came after its round was over"
            self._run.event("late", round=self._number, clinic=name, words=words)

    def _leave(self, name: str, state: str, why: ExcludedReply) -> None:
        """The clinic does not count in this round."""
        self._waiting.pop(name, None)
        self._left_out[name] = why
        self._hub.progress.clinic(name, state, why.words)
        self._run.event("refused", round=self._number, clinic=name, reason=why.reason, words=why.words)
        self._hub.audit("update_refused", run=self._run.name, round=self._number, clinic=name, reason=why.reason)

    # -- closing ----------------------------------------------------------------------------------------------------
    def _judge(self) -> tuple[dict[str, float], dict[str, str]]:
        if self._kind != "train":
            return dict.fromkeys(self._accepted, 1.0), {}
        norms = {name: a.norm for name, a in sorted(self._accepted.items())}
        return gate.judge_norms(norms, self._norms_before, self._settings.norm_clip, self._settings.norm_bound)

    def _usable(self) -> int:
        return len(self._judge()[0])

    def _close(self, short: str) -> ExchangeResult:
        for name in list(self._waiting):
            self._late.update(dict.fromkeys(self._waiting[name].ids, name))
            self._leave(name, "late", ExcludedReply("late", f"no answer within {time.time() - self._began:.0f} s"))
        scales, too_long = self._judge()
        for name, words in too_long.items():
            ExchangeResult({name: self._accepted.pop(name)}, {}, {}).discard()
            self._leave(name, "refused", ExcludedReply("norm", words, fault=True))
        for name, scale in scales.items():
            if scale < 1:
                self._run.event("clipped", round=self._number, clinic=name, scale=scale)
        return ExchangeResult(dict(sorted(self._accepted.items())), scales, self._left_out, short)

    def _too_few_in_time(self) -> str:
        terms = self._terms
        return (
            f"Round {self._number}: {self._usable()} usable answers after {terms.deadline_s:g} s and {terms.grace_s:g} s "
            f"of grace, the quorum is {terms.needed}; missing: {', '.join(sorted(self._waiting))}. "
            "Start those clinics again, or lengthen round_deadline_s, or lower the quorum."
        )

    def _too_few_at_all(self) -> str:
        return (
            f"Round {self._number}: {self._usable()} usable answers from {self._asked} clinics, the quorum is "
            f"{self._terms.needed}. The run's events say why the others were not taken."
        )

    def _say_waiting(self) -> None:
        if not self._waiting:
            return
        needed = self._terms.needed
        enough = self._usable() >= needed
        then = "the round ends without them" if enough else f"the run stops unless {needed} have answered"
        until = self._began + (self._terms.deadline_s if enough else self._terms.end_s)
        self._hub.progress.wait(sorted(self._waiting), self._began, until, then)

    # -- asking -----------------------------------------------------------------------------------------------------
    def _send(self, clinics: list[PendingReply], nodes: dict[str, Node]) -> None:
        end = self._began + self._terms.end_s
        seconds = max(1.0, end - time.time())
        folder = f"{MODEL_PREFIX}{self._run.name}/"
        path = folder + self._model.weights.name
        for a in clinics:
            url = self._hub.urls.sign("GET", path, a.name, seconds + URL_SLACK_S)
            control = self._controls.get(a.name)
            steer = self._hub.urls.sign("GET", folder + control.file, a.name, seconds + URL_SLACK_S) if control else ""
            put = self._hub.urls.sign("PUT", a.upload, a.name, seconds + URL_SLACK_S) if a.upload else ""
            a.request = Request(
                kind=self._kind,
                run=self._run.name,
                round=self._number,
                clinic=a.name,
                settings=self._settings,
                layout=self._layout.id,
                model=Download(url=url, size=self._model.record["size"], sha256=self._model.record["sha256"]),
                control=Download(url=steer, size=control.size, sha256=control.sha256) if control else None,
                upload_url=put,
                deadline=end,
            )
            a.ids.append(self._hub.link.send(nodes[a.name], a.request.model_dump_json(), seconds, str(self._number)))
            a.sent, a.activated = time.time(), nodes[a.name].activated

    def _see_who_is_there(self) -> None:
        """The SuperLink hands a message out once. A clinic that has connected anew has lost it, and so has one that says
        it has nothing to do (the answer to its call was lost with the gateway, say): write again."""
        admitted = self._hub.store.admitted()
        for name in [n for n in self._waiting if n not in admitted]:
            state = self._hub.store.clinics()[name].state
            self._leave(name, "refused", ExcludedReply("suspended", f"the clinic was {state}"))
        nodes, again = self._hub.link.nodes(), []
        for a in self._waiting.values():
            node = nodes.get(a.name)
            if node is None or not node.online:
                self._hub.progress.clinic(a.name, "offline", "not connected; it is asked again when it comes back")
            elif node.activated != a.activated or self._hub.idle_at(a.name) > a.sent + UNHEARD_S:
                again.append(a)
        self._send(again, nodes)
        for a in again:
            self._hub.progress.clinic(a.name, _DOING[self._kind])
        if again:
            self._run.event("asked_again", round=self._number, clinics=[a.name for a in again])
