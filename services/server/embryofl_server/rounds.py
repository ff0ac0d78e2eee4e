"""The round loop: ask the clinics, collect, check, aggregate, save, go on. Knows nothing of flwr or HTTP.

One exchange a round: each clinic evaluates the last round's model on its validation patients, trains from it and
replies with its update and both sets of metrics. After the last round one evaluation closes the run. Whatever is
interrupted is taken up at the round under way, with the same seeds, from the last complete checkpoint.
"""

import json
import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from embryofl.errors import NotFiniteError, UserError
from embryofl.files import write_atomic
from embryofl.messages import Download, Request
from embryofl_server import gate, results
from embryofl_server.blobs import MODEL_PREFIX, SignedUrls, Uploads
from embryofl_server.checkpoint import Checkpoint, Checkpoints
from embryofl_server.progress import Progress
from embryofl_server.runs import Run
from embryofl_server.sketch import distance, sketch, sketch_file
from embryofl_server.store import Store
from embryofl_server.strategies import strategy
from embryofl_server.superlink import LinkLost, Node, SuperLink

log = logging.getLogger("embryofl.rounds")

POLL_FAST_S, POLL_SLOW_S, POLL_GROWTH = 0.05, 1.0, 1.3  # pauses between two looks for answers
PRESENCE_S = 2.0  # between two looks at who is online
URL_SLACK_S = 120.0  # how much longer than the round its URLs live

Kind = Literal["train", "evaluate"]


class Halted(Exception):
    """The run was asked to stop or the hub is going down."""


class RunFailed(UserError):
    """The run cannot go on; the text says why and what to do."""


@dataclass
class Asked:
    """One clinic in one round: what it was sent, and when it had last connected when it was sent."""

    name: str
    upload: str = ""
    request: Request | None = None
    activated: str = ""
    ids: list[str] = field(default_factory=list)


@dataclass
class Hub:
    """What a round loop works with."""

    link: SuperLink
    store: Store
    urls: SignedUrls
    uploads: Uploads
    progress: Progress
    audit: Callable[..., None]


class RoundLoop:
    """One run, from wherever it stands to its end.

    Parameters
    ----------
    hub : Hub
    run : Run
    checkpoints : Checkpoints
        Must hold at least the initial model (round 0).
    halt : threading.Event
        Set from outside to stop between two steps.
    """

    def __init__(self, hub: Hub, run: Run, checkpoints: Checkpoints, halt: threading.Event) -> None:
        self._hub, self._run, self._checkpoints, self._halt = hub, run, checkpoints, halt
        self._settings = run.settings
        self._strategy = strategy(self._settings.strategy)
        latest = checkpoints.latest()
        if latest is None:
            raise RunFailed(f"No whole checkpoint of {run.name} is left, not even the initial model. Start a new run.")
        self._model: Checkpoint = latest
        self._layout = latest.layout()
        self._late: dict[str, str] = {}
        self._sketches: dict[str, np.ndarray] = {}
        self._lines: list[dict[str, Any]] = []  # of metrics.jsonl

    def execute(self) -> None:
        """Run to the end.

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
        self._lines = [line for r in self._checkpoints.records() for line in results.record_lines(r)]
        run.rewrite_metrics(self._lines)
        self._recover([], admitted=False)
        try:
            for number in range(self._model.round + 1, settings.rounds + 1):
                self._train_round(number)
            self._closing_evaluation()
        finally:
            self._hub.link.close()
            self._hub.progress.phase("idle", self._model.round, settings.rounds)
            self._hub.progress.go_on()

    # -- rounds -----------------------------------------------------------------------------------------------------
    def _train_round(self, number: int) -> None:
        nodes = self._gather(number)
        began = time.time()
        self._sketches.clear()
        accepted, refused, new = self._exchange(number, "train", nodes)
        done = time.time()
        self._hub.progress.phase("aggregating", number, self._settings.rounds)
        model = new()
        aggregate = sketch(model, self._layout)
        record = {
            "clinics": {
                name: {
                    "examples": a.reply.examples,
                    "train_loss": a.reply.train_loss,
                    "norm": a.norm,
                    "distance": distance(self._sketches[name], aggregate),
                    "seconds": a.reply.seconds,
                    "device": a.reply.device,
                    "memory_bytes": a.reply.memory_bytes,
                    "reconnects": a.reply.reconnects,
                    "validation": a.reply.validation,
                }
                for name, a in sorted(accepted.items())
            },
            "refused": refused,
            "began": began,
            "seconds": {"clinics": round(done - began, 3)},
        }
        self._model = self._checkpoints.save(number, model, record)
        self._run.set_state("running", number)
        self._run.event("round", round=number, accepted=sorted(accepted), refused=refused,
                        seconds=round(time.time() - began, 3))  # fmt: skip
        self._lines += results.record_lines(self._model.record)
        self._run.rewrite_metrics(self._lines)
        log.info("round %d of %d: %d updates in %.1f s", number, self._settings.rounds, len(accepted), done - began)

    def _closing_evaluation(self) -> None:
        nodes = self._gather(self._model.round)
        accepted, refused, _ = self._exchange(self._model.round, "evaluate", nodes)
        record = {
            "run": self._run.name,
            "round": self._model.round,
            "sha256": self._model.record["sha256"],
            "layout": self._layout.id,
            "parameters": self._layout.parameters,
            "settings": self._settings.model_dump(),
            "evaluation": {
                n: {"validation": a.reply.validation, "test": a.reply.test} for n, a in sorted(accepted.items())
            },
            "refused": refused,
            "use": "Research use only: not a medical device.",
        }
        final = results.final_lines(record)
        target = self._run.folder / "model.safetensors"
        part = target.with_suffix(".part")
        shutil.copyfile(self._model.weights, part)
        part.replace(target)
        write_atomic(self._run.folder / "model.json", json.dumps({**record, "metrics": final}, indent=1).encode())
        self._run.rewrite_metrics([*self._lines, *final])
        self._run.event("finished", round=self._model.round, sha256=record["sha256"])

    # -- who takes part ---------------------------------------------------------------------------------------------
    def _gather(self, number: int) -> dict[str, Node]:
        """Wait until `min_clinics` are online; returns them by name."""
        settings, progress = self._settings, self._hub.progress
        since, said = time.time(), None
        until = since + settings.join_wait_s
        while True:
            enrolled = [c.name for c in self._hub.store.clinics().values() if c.state == "enrolled"]
            online = {n: node for n, node in self._nodes().items() if node.online and n in enrolled}
            if len(online) >= settings.min_clinics:
                if said is not None:
                    self._run.set_state("running", self._model.round)
                progress.go_on()
                return online
            missing = sorted(set(enrolled) - set(online))
            progress.phase("waiting", number, settings.rounds)
            progress.begin(sorted(online), "online")
            for name in missing:
                progress.clinic(name, "offline")
            why = f"{len(online)} of at least {settings.min_clinics} clinics are online"
            progress.wait(missing, since, until, "the run stops", why)
            if said != (missing, len(online)):
                said = (missing, len(online))
                self._run.set_state("waiting", self._model.round, why)
                self._run.event("waiting", round=number, why=why, missing=missing)
            if time.time() > until:
                raise RunFailed(
                    f"{why} after waiting {settings.join_wait_s:g} s; missing: {', '.join(missing) or 'not enrolled yet'}."
                    " See to it that they run, or start a run with a smaller min_clinics."
                )
            self._pause(0.3)

    def _nodes(self) -> dict[str, Node]:
        while True:
            try:
                return self._hub.link.nodes()
            except LinkLost as exc:
                self._recover([], reason=str(exc))

    # -- one exchange -----------------------------------------------------------------------------------------------
    def _exchange(self, number: int, kind: Kind, nodes: dict[str, Node]) -> tuple[
        dict[str, gate.Accepted], dict[str, str], Callable[[], Any]
    ]:  # fmt: skip
        """Ask all `nodes`; returns what was accepted, what was refused and why, and a function for the new model."""
        settings, progress = self._settings, self._hub.progress
        names = sorted(nodes)
        aggregate = self._strategy(self._layout, names if kind == "train" else [])
        asked = {n: Asked(n) for n in names}
        if kind == "train":
            for a in asked.values():
                a.upload = self._hub.uploads.expect(self._run.name, number, a.name, self._layout.size)
        progress.phase("training" if kind == "train" else "evaluating", number, settings.rounds)
        progress.begin(names, "training" if kind == "train" else "evaluating")
        began = time.time()
        accepted: dict[str, gate.Accepted] = {}
        refused: dict[str, str] = {}
        waiting = dict(asked)

        def leave(name: str, state: str, reason: str, words: str) -> None:
            del waiting[name]
            refused[name] = reason
            if kind == "train":
                aggregate.skip(name)
            progress.clinic(name, state, words)
            self._run.event("refused", round=number, clinic=name, reason=reason, words=words)
            self._hub.audit("update_refused", run=self._run.name, round=number, clinic=name, reason=reason)

        try:
            self._collect(number, kind, nodes, waiting, began, accepted, leave, aggregate)
            for name in list(waiting):
                self._late.update(dict.fromkeys(waiting[name].ids, name))
                leave(name, "late", "late", f"no answer within {time.time() - began:.0f} s")
        finally:
            self._hub.uploads.forget([a.upload for a in asked.values() if a.upload])
            progress.go_on()
        return accepted, refused, aggregate.result

    def _collect(  # noqa: PLR0913
        self,
        number: int,
        kind: Kind,
        nodes: dict[str, Node],
        waiting: dict[str, Asked],
        began: float,
        accepted: dict[str, gate.Accepted],
        leave: Callable[[str, str, str, str], None],
        aggregate: Any,
    ) -> None:
        settings, uploads = self._settings, self._hub.uploads
        deadline, end = began + settings.round_deadline_s, began + settings.round_deadline_s + settings.grace_s
        quorum = answers_needed(settings.quorum, settings.min_clinics, len(nodes))
        look, pause = time.time() + PRESENCE_S, POLL_FAST_S
        try:
            self._send(list(waiting.values()), number, kind, nodes, end)
        except LinkLost as exc:
            self._recover(list(waiting.values()), reason=str(exc))
            look = 0.0
        self._say_waiting(waiting, began, deadline, end, quorum, len(accepted))
        while waiting:
            try:
                by_id = {i: a for a in waiting.values() for i in a.ids}
                answers = self._hub.link.answers([*by_id, *self._late])
                for answer in answers:
                    a = by_id.get(answer.message_id)
                    if a is None or a.name not in waiting:
                        self._note_late(answer.message_id, number)
                    elif answer.lost:
                        a.ids, a.activated, look = [], "", 0.0
                        self._hub.progress.clinic(a.name, "offline", "its connection broke off; it is asked again")
                    elif answer.error:
                        words = f"the clinic failed with {answer.error}; its own log says more"
                        reason = "not_finite" if answer.error == NotFiniteError.__name__ else "clinic_error"
                        leave(a.name, "failed", reason, words)
                    else:
                        self._take(a, answer.text, waiting, accepted, leave, aggregate)
                    pause = POLL_FAST_S
                if answers:
                    self._say_waiting(waiting, began, deadline, end, quorum, len(accepted))
                if time.time() > look and waiting:
                    look = time.time() + PRESENCE_S
                    self._resend(list(waiting.values()), number, kind, end)
            except LinkLost as exc:
                self._recover(list(waiting.values()), reason=str(exc))
                look = 0.0
            now = time.time()
            if now > deadline and len(accepted) >= quorum:
                return
            if now > end:
                raise RunFailed(
                    f"Round {number}: {len(accepted)} usable answers after {settings.round_deadline_s:g} s and "
                    f"{settings.grace_s:g} s of grace, the quorum is {quorum}; missing: {', '.join(sorted(waiting))}. "
                    "Start those clinics again, or lengthen round_deadline_s, or lower the quorum."
                )
            if uploads.arrived.is_set():
                uploads.arrived.clear()
                pause = POLL_FAST_S
            self._pause(pause, uploads.arrived)
            pause = min(pause * POLL_GROWTH, POLL_SLOW_S)
        if len(accepted) < quorum:
            raise RunFailed(
                f"Round {number}: {len(accepted)} usable answers from {len(nodes)} clinics, the quorum is {quorum}. "
                "The run's events say why the others were not taken."
            )

    def _say_waiting(  # noqa: PLR0913
        self, waiting: dict[str, Asked], began: float, deadline: float, end: float, quorum: int, have: int
    ) -> None:
        enough = have >= quorum
        then = "the round ends without them" if enough else f"the run stops unless {quorum} have answered"
        self._hub.progress.wait(sorted(waiting), began, deadline if enough else end, then)

    def _take(  # noqa: PLR0913
        self,
        a: Asked,
        text: str,
        waiting: dict[str, Asked],
        accepted: dict[str, gate.Accepted],
        leave: Callable[[str, str, str, str], None],
        aggregate: Any,
    ) -> None:
        assert a.request is not None
        try:
            reply = gate.parse(text, a.request)
            clinic = self._hub.store.clinics()[a.name]
            ticket = self._hub.uploads.collect(a.upload) if a.upload else None
            try:
                result = gate.check(reply, a.request, clinic, ticket, self._layout, self._model.packed())
            except gate.Refusal:
                if ticket:
                    ticket.path.unlink(missing_ok=True)
                raise
        except gate.Refusal as exc:
            leave(a.name, "refused", exc.reason, str(exc))
            return
        del waiting[a.name]
        accepted[a.name] = result
        self._hub.progress.clinic(a.name, "done")
        if result.update is not None:
            self._sketches[a.name] = sketch_file(result.update, self._layout)
            aggregate.add(a.name, result.update, reply.examples)

    def _note_late(self, message_id: str, number: int) -> None:
        name = self._late.pop(message_id, None)
        if name:
            self._run.event("late", round=number, clinic=name, words="its answer came after its round was over")

    def _send(self, clinics: list[Asked], number: int, kind: Kind, nodes: dict[str, Node], end: float) -> None:
        seconds = max(1.0, end - time.time())
        path = f"{MODEL_PREFIX}{self._run.name}/{self._model.weights.name}"
        for a in clinics:
            url = self._hub.urls.sign("GET", path, a.name, seconds + URL_SLACK_S)
            put = self._hub.urls.sign("PUT", a.upload, a.name, seconds + URL_SLACK_S) if a.upload else ""
            a.request = Request(
                kind=kind,
                run=self._run.name,
                round=number,
                clinic=a.name,
                settings=self._settings,
                layout=self._layout.id,
                model=Download(url=url, size=self._model.record["size"], sha256=self._model.record["sha256"]),
                upload_url=put,
                deadline=end,
            )
            a.ids.append(self._hub.link.send(nodes[a.name], a.request.model_dump_json(), seconds, str(number)))
            a.activated = nodes[a.name].activated

    def _resend(self, waiting: list[Asked], number: int, kind: Kind, end: float) -> None:
        """The SuperLink hands a message out once. A clinic that has connected anew has lost it: write again."""
        nodes = self._hub.link.nodes()
        lost = [
            a for a in waiting if a.name in nodes and nodes[a.name].online and nodes[a.name].activated != a.activated
        ]
        for a in waiting:
            node = nodes.get(a.name)
            if node is None or not node.online:
                self._hub.progress.clinic(a.name, "offline", "not connected; it is asked again when it comes back")
        if lost:
            self._send(lost, number, kind, nodes, end)
            for a in lost:
                self._hub.progress.clinic(a.name, "training" if kind == "train" else "evaluating")
            self._run.event("asked_again", round=number, clinics=[a.name for a in lost])

    # -- the link ---------------------------------------------------------------------------------------------------
    def _recover(self, waiting: list[Asked], reason: str = "", *, admitted: bool = True) -> None:
        """Bring the SuperLink back, however long it takes; what it had in hand is sent again."""
        if admitted:
            log.warning("the SuperLink is lost (%s)", reason)
            self._run.event("link_lost", reason=reason)
        delay, since = 0.2, time.time()
        while True:
            keys = {c.name: c.public_key for c in self._hub.store.clinics().values() if c.state == "enrolled"}
            try:
                added = self._hub.link.recover(keys)
                break
            except LinkLost as exc:
                self._hub.progress.wait([], since, 0, "it is tried again for ever", f"the SuperLink is away ({exc})")
                self._pause(delay)
                delay = min(delay * 1.6, 5.0)
        for a in waiting:
            a.ids, a.activated = [], ""
        self._late.clear()
        if admitted:
            self._run.event("link_back", seconds=round(time.time() - since, 1), enrolled_again=added)

    def _pause(self, seconds: float, wake: threading.Event | None = None) -> None:
        if self._halt.is_set():
            raise Halted
        if wake is None:
            self._halt.wait(seconds)
        else:
            wake.wait(seconds)
        if self._halt.is_set():
            raise Halted


def answers_needed(quorum: float, min_clinics: int, asked: int) -> int:
    """How many answers a round needs."""
    if quorum == 0:
        return min(min_clinics, asked)
    if quorum < 1:
        return max(1, -int(-quorum * asked // 1))
    return int(quorum)
