"""One request to every clinic: collect and check replies until all have replied or the time limits are reached.

A clinic that lost its request is sent it again; a reply that cannot be used is excluded, with a reason. Updates wait in
their upload files until the exchange closes: only then is it decided which are too long, so that the order in which
replies arrive changes nothing.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from embryofl.errors import ProtocolError, with_code
from embryofl.messages import Kind, Request
from embryofl.schema import Download
from embryofl_server.federation import gate
from embryofl_server.federation.blobs import MODEL_PREFIX
from embryofl_server.federation.checkpoint import Checkpoint, CorrectionFile
from embryofl_server.federation.exchange_result import RESTARTED, ExchangeResult, ExcludedReply
from embryofl_server.federation.fleet import FleetLost, Node
from embryofl_server.federation.fleet_session import FleetSession
from embryofl_server.federation.mailboxes import ID as MAILED
from embryofl_server.federation.round_limits import RoundLimits
from embryofl_server.federation.step import Step

POLL_SLOW_S, POLL_GROWTH = 1.0, 1.3  # longest pause between two polls for replies, and its growth
PRESENCE_S = 2.0  # between two checks of who is online
UNHEARD_S = 5.0  # a clinic that reports being idle this long after a request was sent has not received it
URL_SLACK_S = 120.0  # how long the URLs of a round stay valid after it

_CODES = {"clinic_refused": "J9", "suspended": "J6", "not_finite": "R6", "masking": "R8"}  # by reason; all others: R5
_DOING = dict.fromkeys(("validate", "evaluate", "audit"), "evaluating") | dict.fromkeys(("survivors", "shares"), "done")
_PHASES = _DOING | dict.fromkeys(("survivors", "shares"), "aggregating")


@dataclass
class PendingReply:
    """A clinic that has not replied yet: its upload path, the newest request and when it was sent (Unix time), the
    clinic's connection at that moment (`Node.activated`), and the ids of the messages that carried the request."""

    name: str
    upload: str = ""
    request: Request | None = None
    sent: float = 0.0
    activated: str = ""
    ids: list[str] = field(default_factory=list)

    def unsent(self) -> None:
        """The messages sent so far are lost."""
        self.ids, self.activated = [], ""


class Exchange:
    """One request to every clinic that takes part.

    Parameters
    ----------
    session : FleetSession
    model : Checkpoint
        The global model that the clinics download.
    kind : Kind
    number : int
        Of the round.
    limits : RoundLimits
    corrections : mapping of str to CorrectionFile, optional
        Drift corrections by clinic.
    step : Step, optional
        Of secure aggregation, in a masked round.
    """

    def __init__(
        self,
        session: FleetSession,
        model: Checkpoint,
        kind: Kind,
        number: int,
        limits: RoundLimits,
        corrections: Mapping[str, CorrectionFile] | None = None,
        step: Step | None = None,
    ) -> None:
        self._session, self._context, self._run = session, session.context, session.run
        self._model, self._kind, self._number, self._limits = model, kind, number, limits
        self._corrections, self._step = corrections or {}, step
        self._doing = _DOING.get(kind, "training")
        self._settings, self._layout = self._run.settings, model.layout()
        self._result = ExchangeResult()
        self._waiting: dict[str, PendingReply] = {}
        self._asked, self._spoilt = 0, False  # spoilt: a clinic whose reply no longer counts is in the masked sum
        self._began = self._next_presence = 0.0

    def run(self, nodes: dict[str, Node]) -> ExchangeResult:
        """Send the requests, collect and check the replies.

        Raises
        ------
        Halted
        """
        uploads, progress = self._context.uploads, self._context.progress
        for name in sorted(nodes):
            size = self._step.upload_size if self._step else self._layout.size
            expected = self._kind == "train" or bool(self._step and self._step.upload_size)
            path = uploads.expect(self._run.name, self._number, name, size) if expected else ""
            self._waiting[name] = PendingReply(name, path)
        paths = [pending.upload for pending in self._waiting.values() if pending.upload]
        self._asked, self._began = len(nodes), time.time()
        progress.phase(_PHASES.get(self._kind, "training"), self._number, self._settings.rounds)
        progress.begin(sorted(nodes), self._doing, self._step.left_out if self._step else {})
        limits = self._limits
        progress.terms(self._began + limits.due_s, limits.due_s, limits.quorum)
        try:
            self._result.shortfall = self._collect(nodes)
            self._close()
        except BaseException:
            self._result.discard()
            raise
        finally:
            uploads.forget(paths)
            progress.closed()
            progress.go_on()
        return self._result

    # -- collecting -------------------------------------------------------------------------------------------------
    def _collect(self, nodes: dict[str, Node]) -> str:
        """Until the exchange is over: "" then, or why there are too few replies."""
        arrived, fastest = self._context.uploads.arrived, self._context.fleet.poll_s
        self._next_presence = time.time() + PRESENCE_S
        online = [pending for pending in self._waiting.values() if nodes[pending.name].online]
        self._guarded(lambda: self._send(online, nodes))
        self._show_waiting()
        pause = self._first_pause()
        while self._waiting:
            self._session.pause(pause, arrived)
            pause = min(pause * POLL_GROWTH, POLL_SLOW_S)
            if arrived.is_set():
                arrived.clear()
                pause = fastest
                if not self._context.mailboxes.filled:
                    self._session.pause(pause)  # the reply follows its upload
            if self._guarded(self._read_replies):
                pause = self._first_pause()
                self._show_waiting()
            if self._waiting and time.time() > self._next_presence:
                self._next_presence = time.time() + PRESENCE_S
                self._guarded(self._resend_lost)
                self._show_waiting()
            elapsed = time.time() - self._began
            if elapsed > self._limits.deadline_s and self._enough():
                return ""
            if elapsed > self._limits.end_s or self._spoilt:
                return self._too_few_in_time()
        return "" if self._enough() else self._too_few()

    def _first_pause(self) -> float:
        """Poll slowly until an update is uploaded: a valid training reply always follows its upload."""
        paths = [pending.upload for pending in self._waiting.values() if pending.upload]
        soon = not paths or any(map(self._context.uploads.complete, paths))
        return self._context.fleet.poll_s if soon else POLL_SLOW_S

    def _guarded(self, step: Callable[[], object]) -> bool:
        """Do something with the fleet; if it is lost, recover it and forget what was sent through the old one."""
        try:
            return bool(step())
        except FleetLost as exc:
            self._session.recover(str(exc))
            for pending in self._waiting.values():
                pending.unsent()
            self._next_presence = 0.0
            return False

    def _read_replies(self) -> bool:
        by_id = {message: pending for pending in self._waiting.values() for message in pending.ids}
        sent = [message for message in (*by_id, *self._session.late) if not message.startswith(MAILED)]
        replies = self._context.mailboxes.replies() + self._context.fleet.replies(sent)
        for reply in replies:
            pending = by_id.get(reply.message_id)
            if pending is None or pending.name not in self._waiting:
                self._note_late(reply.message_id)
            elif reply.lost:
                pending.unsent()
                self._next_presence = 0.0
                self._context.progress.clinic(pending.name, "offline", "the connection was lost; it is asked again")
            elif reply.error:
                self._exclude(pending.name, "failed", ExcludedReply.of_error(reply.error))
            else:
                self._check(pending, reply.text)
        return bool(replies)

    def _check(self, pending: PendingReply, text: str) -> None:
        assert pending.request is not None
        upload = None
        try:
            reply = gate.parse(text, pending.request)
            clinic = self._context.store.clinics()[pending.name]
            upload = self._context.uploads.collect(pending.upload) if pending.upload else None
            accepted = gate.check(reply, pending.request, clinic, upload, self._layout, self._model.packed())
            if self._step:
                accepted = self._taken(self._step, pending.name, accepted)
        except gate.ReplyRejected as exc:
            if upload:
                upload.path.unlink(missing_ok=True)
            self._exclude(pending.name, "refused", ExcludedReply(exc.reason, str(exc), exc.fault, exc.accused))
            return
        del self._waiting[pending.name]
        self._result.accepted[pending.name] = accepted
        self._context.progress.clinic(pending.name, "done")

    @staticmethod
    def _taken(step: Step, name: str, accepted: gate.AcceptedReply) -> gate.AcceptedReply:
        try:
            return step.take(name, accepted)
        except ProtocolError as exc:
            raise gate.ReplyRejected("masking", str(exc)) from exc

    def _note_late(self, message_id: str) -> None:
        if name := self._session.late.pop(message_id, None):
            words = "its reply arrived after the round had ended"
            self._run.event("late", round=self._number, clinic=name, words=words)

    def _exclude(self, name: str, state: str, why: ExcludedReply) -> None:
        """The clinic's reply is not used in this round."""
        self._waiting.pop(name, None)
        why = replace(why, message=with_code(_CODES.get(why.reason, "R5"), why.message))
        self._result.excluded[name] = why
        self._context.progress.clinic(name, state, why.message)
        if why.reason == RESTARTED or (why.reason == "late" and self._kind in ("survivors", "shares")):
            self._run.event("step_missed", round=self._number, clinic=name, words=why.message)  # no update was refused
            return
        self._run.event("refused", round=self._number, clinic=name, reason=why.reason, words=why.message)
        self._context.audit("update_refused", run=self._run.name, round=self._number, clinic=name, reason=why.reason)

    # -- closing ----------------------------------------------------------------------------------------------------
    def _judge(self) -> tuple[dict[str, float], dict[str, str]]:
        """Scales of the usable updates, and what to say of those that are too long."""
        accepted = self._result.accepted
        if self._kind != "train" or self._step:
            return dict.fromkeys(accepted, 1.0), {}
        norms = {name: reply.norm for name, reply in sorted(accepted.items())}
        last_round = [clinic["norm"] for clinic in self._model.record.get("clinics", {}).values()]
        return gate.judge_norms(norms, last_round, self._settings.norm_clip, self._settings.norm_bound)

    def _enough(self) -> bool:
        """Whether the quorum has replied. The reply of a clinic that was suspended or revoked, or has left, since then does
        not count. Replies to steps without uploads are spent already: there the next step leaves it out."""
        if not self._step or self._step.upload_size:
            for name, why in self._gone(self._result.accepted).items():
                ExchangeResult({name: self._result.accepted.pop(name)}).discard()
                self._exclude(name, "refused", ExcludedReply("suspended", why))
                self._spoilt |= self._step is not None
        return self._usable() >= self._limits.quorum and not self._spoilt

    def _gone(self, names: Iterable[str]) -> dict[str, str]:
        """The clinics that may no longer take part, and why; one that has joined again since has another key."""
        clinics = self._context.store.clinics()
        again = {name: "the clinic has joined again" for name in names if clinics[name].enrolled > self._began}
        return again | {n: f"the clinic was {clinics[n].state}" for n in names if clinics[n].state != "enrolled"}

    def _usable(self) -> int:
        return (self._step.usable if self._step else len)(self._judge()[0])

    def _close(self) -> None:
        for name, pending in list(self._waiting.items()):
            self._session.late.update(dict.fromkeys(pending.ids, name))
            self._exclude(name, "late", ExcludedReply("late", f"no reply within {time.time() - self._began:.0f} s"))
        self._result.scales, too_long = self._judge()
        for name, message in too_long.items():
            ExchangeResult({name: self._result.accepted.pop(name)}).discard()
            self._exclude(name, "refused", ExcludedReply("norm", message, fault=True))
        for name, scale in self._result.scales.items():
            if scale < 1:
                self._run.event("clipped", round=self._number, clinic=name, scale=scale)
        self._result.accepted = dict(sorted(self._result.accepted.items()))

    def _too_few_in_time(self) -> str:
        limits = self._limits
        return (
            f"Round {self._number}: {self._usable()} usable replies after {limits.deadline_s:g} s and a grace period of "
            f"{limits.grace_s:g} s, the quorum is {limits.quorum}; missing: {', '.join(sorted(self._waiting))}. "
            "Start those clinics again, or start a run with a longer round_deadline_s or a lower quorum."
        )

    def _too_few(self) -> str:
        return (
            f"Round {self._number}: {self._usable()} usable replies from {self._asked} clinics, the quorum is "
            f"{self._limits.quorum}. The run's events say why the others were excluded."
        )

    def _show_waiting(self) -> None:
        if not self._waiting:
            return
        quorum = self._limits.quorum
        reached = self._usable() >= quorum
        then = "the round ends without them" if reached else f"the run fails unless {quorum} clinics have replied"
        until = self._began + (self._limits.deadline_s if reached else self._limits.end_s)
        self._context.progress.wait(sorted(self._waiting), self._began, until, then)

    # -- sending ----------------------------------------------------------------------------------------------------
    def _send(self, clinics: list[PendingReply], nodes: dict[str, Node]) -> None:
        end, members = self._began + self._limits.end_s, self._context.store.clinics() if clinics else {}
        seconds = max(1.0, end - time.time())
        for pending in clinics:
            node, member = nodes[pending.name], members[pending.name]
            request = self._request(pending, member.protocol, end, seconds + URL_SLACK_S)
            text = request.model_dump_json()
            sent = self._context.mailboxes.send(node.name, text, told=self._kind != "keys")
            pending.ids.append(sent or self._context.fleet.send(node, text, seconds, str(self._number)))
            pending.request, pending.sent, pending.activated = request, time.time(), node.activated

    def _request(self, pending: PendingReply, protocol: int, deadline: float, valid_s: float) -> Request:
        def url(method: str, path: str) -> str:
            return self._context.urls.sign(method, path, pending.name, valid_s)

        def download(file: str, size: int, sha256: str) -> Download:
            return Download(url=url("GET", f"{MODEL_PREFIX}{self._run.name}/{file}"), size=size, sha256=sha256)

        mailbox = self._context.mailboxes.open(pending.name) if self._kind == "keys" else ""
        record, correction = self._model.record, self._corrections.get(pending.name)
        return Request(
            protocol=protocol,
            kind=self._kind,
            run=self._run.name,
            round=self._number,
            clinic=pending.name,
            settings=self._settings,
            layout=self._layout.id,
            model=download(self._model.weights.name, record["size"], record["sha256"]),
            control=download(correction.file, correction.size, correction.sha256) if correction else None,
            upload_url=url("PUT", pending.upload) if pending.upload else "",
            step_url=url("POST", mailbox) if mailbox else "",
            deadline=deadline,
            masking=self._step.ask(pending.name) if self._step else None,
        )

    def _resend_lost(self) -> None:
        """Send again what the SuperLink, which delivers once, has sent in vain: the clinic reconnected, or is idle."""
        for name, why in self._gone(self._waiting).items():
            self._exclude(name, "refused", ExcludedReply("suspended", why))
        nodes, again = self._context.fleet.nodes(), []
        for pending in self._waiting.values():
            node = nodes.get(pending.name)
            if node is None or not node.online:
                message = "not connected; it is asked again when it comes back"
                self._context.progress.clinic(pending.name, "offline", message)
            elif node.activated != pending.activated or self._context.idle_at(pending.name) > pending.sent + UNHEARD_S:
                again.append(pending)
        for pending in again:
            self._context.mailboxes.close(pending.name)
        self._send(again, nodes)
        for pending in again:
            self._context.progress.clinic(pending.name, self._doing)
        if again:
            self._run.event("asked_again", round=self._number, clinics=[pending.name for pending in again])
