"""From a request to the reply: check the policy, fetch the model, evaluate, train, mask, upload. Free of flwr and HTTP."""

import hashlib
import json
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from embryofl.errors import DataError, ProtocolError, SumRefusedError
from embryofl.masked_update import difference, with_noise
from embryofl.membership import Releases
from embryofl.messages import MASKING, Reply, Request, round_seed
from embryofl.metrics import ScoredEmbryos, ScoreSums
from embryofl.pooled_metrics import AUDIT_GROUP, GROUP, SPLITS, filled_cells, from_vector, to_vector
from embryofl.secagg.messages import digest
from embryofl.wire import WireError
from embryofl_clinic.exporter import TrainerMetrics, memory
from embryofl_clinic.masking.attempt import Masking
from embryofl_clinic.policy.questions import About, Split
from embryofl_clinic.policy.rules import Policy
from embryofl_clinic.policy.sent import Kind, SentLog
from embryofl_clinic.policy.told import CannotTell
from embryofl_clinic.privacy.canaries import CanaryFile
from embryofl_clinic.workload.audit import AUDITED, audit_sums, counts_of, guess_sums
from embryofl_clinic.workload.embryo import Workload
from embryofl_clinic.workload.own_results import OwnResultsFile
from embryofl_clinic.workload.transfers import TransferRefused, Transfers

log = logging.getLogger("embryofl.clinic")


class Workloads(Protocol):
    """Gives the workload for a request, such as `WorkloadCache`."""

    def get(self, request: Request) -> Workload:
        """Raises `DataError` if the clinic's data cannot be used."""


@dataclass(frozen=True)
class _Work:
    """What was done for a request: its reply, and what is uploaded with it. That is for training the packed model, uint8
    (size,), or where updates are masked the update, float32 or with `dp_epsilon` float64 (floats,); and where metrics are
    masked counts, uint32 (n,).
    `alarm`: see `embryofl_clinic.masking.alarms`."""

    key: tuple[object, ...]
    reply: Reply
    update: np.ndarray | None
    alarm: bool = False


class RequestHandler:
    """Replies to the requests to one clinic.

    Parameters
    ----------
    workloads : Workloads
    policy : Policy
    metrics : TrainerMetrics
        Records the phases of the work.
    state_dir : Path
        The clinic's state folder, where uploads and the clinic's own results are recorded.
    masking : Masking
    """

    def __init__(
        self, workloads: Workloads, policy: Policy, metrics: TrainerMetrics, state_dir: Path, masking: Masking
    ) -> None:
        self._workloads, self._policy, self._metrics, self._masking = workloads, policy, metrics, masking
        self._sent, self._own_results = SentLog(state_dir), OwnResultsFile(state_dir)
        self._canaries = CanaryFile(state_dir)
        self._last: _Work | None = None
        self._ahead: tuple[object, ...] | None = None  # what is trained ahead

    def work_ahead(self, request: Request, transfers: Transfers) -> None:
        """Do the work for which this clinic has replied to ``keys``, before ``train`` or ``evaluate`` asks for it.

        Letters can be exchanged meanwhile (`is_reply_ready`), in another thread.

        Raises
        ------
        Exception
            Whatever fails; the request for the work does it again.
        """
        key = _work_of(request)
        if self._last is not None and self._last.key == key:
            return
        workload = self._workloads.get(request)
        self._ahead = key
        try:
            self._last = self._work(request.model_copy(update={"kind": request.work}), workload, transfers)
        finally:
            self._ahead = None

    def is_reply_ready(self, request: Request) -> bool:
        """Whether a request can be replied to while `work_ahead` runs: letters, and keys for another attempt at it."""
        return request.kind == "letters" or (request.kind == "keys" and _work_of(request) == self._ahead)

    def reply_to(self, request: Request, transfers: Transfers) -> Reply:
        """Do the work, or say in the reply why it is blocked.

        The same work again means that the first reply was lost, or that a masked round has a new attempt: it is replied to
        without training again.
        """
        done = self._last if self._last is not None and self._last.key == _work_of(request) else None
        blocked = self._policy.reason_to_block(request, trained=done is not None)
        if not blocked and (blocked := self._masking.reason_against_plain(request)):
            self._policy.note_block(request, blocked)
        if blocked:
            return Reply.model_validate({**_head(request), "refused": blocked})
        if request.kind in ("validate", "evaluate") and request.masking is None and self._policy.metrics != "own":
            # Without any work: whether that fails, and how long it takes, may depend on single embryos.
            return Reply.model_validate(_head(request))
        if request.kind in MASKING and request.kind != "keys":
            try:
                return Reply.model_validate({**_head(request), "masking": self._masking.step(request)})
            except SumRefusedError as exc:
                return self._declined(request, f"{exc.text}: let more clinics take part, or change the clinic's policy")
        if done is not None and request.kind != "keys":
            return self._with_upload(request, done, transfers)
        workload, blocked = self._workload(request, trained=done is not None)
        if workload is None:
            return Reply.model_validate({**_head(request), "refused": blocked})
        if request.kind == "keys":
            cells = 0
            if request.work != "train":
                try:
                    counted = self._about(request, workload, {s: workload.unscored(s) for s in _splits(request)})
                except CannotTell as exc:
                    return self._declined(request, exc.text)
                counts = audit_sums(workload, counted, None) if request.work == "audit" else _sums(counted)
                guesses = guess_sums(self._canaries.of(request), None)
                cells = filled_cells(counts, self._policy.min_cell, _group(request))
                cells |= filled_cells(guesses, 1, AUDIT_GROUP)
            masking = self._masking.keys(request, workload.examples, workload.layout, cells)
            return Reply.model_validate({**_head(request), "examples": workload.examples, "masking": masking})
        self._last = self._work(request, workload, transfers)
        return self._with_upload(request, self._last, transfers)

    def _declined(self, request: Request, why: str) -> Reply:
        """A reply without any work; the clinic's own log and page have the reason, too."""
        self._policy.note_block(request, why)
        return Reply.model_validate({**_head(request), "refused": why})

    def _workload(self, request: Request, *, trained: bool) -> tuple[Workload | None, str]:
        """The workload, or None and why the request is blocked."""
        try:
            workload = self._workloads.get(request)
        except DataError as exc:
            log.error("%s", exc)
            return None, "the clinic's data folder cannot be used for training; its log says why"
        blocked = self._policy.reason_to_block(request, workload.examples, trained=trained)
        if not blocked and workload.layout.id != request.layout:
            log.error("the run's model is not the %s that this version of the clinic builds", request.settings.model)
            blocked = f"this version builds another {request.settings.model}: update the older of hub and clinic"
        if request.kind == "keys" and not blocked:
            blocked = self._masking.reason_to_block(request)
            self._policy.note_block(request, blocked)
        return (None, blocked) if blocked else (workload, "")

    def _work(self, request: Request, workload: Workload, transfers: Transfers) -> _Work:
        seconds, lap_began, metrics = {}, time.monotonic(), self._metrics

        def lap(name: str, next_phase: str = "idle") -> None:
            nonlocal lap_began
            spent, lap_began = time.monotonic() - lap_began, time.monotonic()
            seconds[name] = round(spent, 3) if name == "download" else math.ceil(spent)
            metrics.phase(next_phase)

        if request.masking is not None:
            self._masking.session(request)  # without keys, nothing that is trained could be sent
        for wanted in (request.model, request.control):  # checked first: memory is taken before the first byte arrives
            if wanted is not None and wanted.size != workload.layout.size:
                raise TransferRefused(f"a file of {wanted.size} bytes, the model has {workload.layout.size}")
        metrics.work(request.round, workload.device)
        metrics.phase("download")
        try:
            model = transfers.download(request.model, request.deadline)
            workload.load(model)
            control = transfers.download(request.control, request.deadline) if request.control else None
        except WireError as exc:
            raise TransferRefused(str(exc)) from exc
        metrics.transferred("down", request.model.size + (request.control.size if request.control else 0))
        lap("download", "evaluate")
        seed = round_seed(request.settings.seed, request.round, request.clinic)
        evaluated = self._evaluated(request, workload)
        released = self._released(request, workload, evaluated, seed)
        update: npt.NDArray[Any] | None = None
        if request.kind in ("evaluate", "audit"):
            update = self._answer(request, workload, evaluated, released, seed)
        body = {**_head(request), **released, "device": workload.device}
        lap("evaluate", "train" if request.kind == "train" else "idle")
        alarm = False
        if request.kind == "train" and request.settings.dp_epsilon:
            update = self._private_update(request, workload, model)
            lap("train", "upload")
            body["examples"] = workload.examples
            self._policy.count_round()
        elif request.kind == "train":
            trained = workload.train(request, seed) if control is None else workload.train(request, seed, control)
            update = trained.packed
            if request.masking is not None:
                if self._policy.metrics != "none":
                    alarm = self._masking.alarms.vote(request, evaluated["validation"])
                update = difference(trained.packed, model, workload.layout)
                if not math.isfinite(trained.loss):
                    update.fill(np.nan)  # `Masking.mask` sends zeros
            lap("train", "upload")
            seconds["loading"] = math.ceil(metrics.take_loading())
            body["examples"] = trained.examples
            if self._policy.metrics == "own" and math.isfinite(trained.loss):
                body["train_loss"] = trained.loss
            log.info("round %d: mean training loss %.4f", request.round, trained.loss)
            self._policy.count_round()
        body |= {"memory_bytes": memory(workload.device), "reconnects": metrics.reconnects}
        return _Work(_work_of(request), Reply.model_validate({**body, "seconds": seconds}), update, alarm)

    def _answer(
        self,
        request: Request,
        workload: Workload,
        evaluated: Mapping[Split, ScoredEmbryos],
        released: dict[str, object],
        seed: int,
    ) -> npt.NDArray[np.uint32] | None:
        """Enter the answer to an evaluation or audit into the ledger of questions, before it leaves: the counts that go
        under the mask, or None where what is `released` has it."""
        if request.kind == "evaluate" and request.masking is None:
            about = About(embryos={split: len(scored.labels) for split, scored in evaluated.items()})
            self._enter(request, "own", json.dumps(released).encode(), about)
            return None
        about = self._about(request, workload, evaluated)
        sums = audit_sums(workload, about, seed) if request.kind == "audit" else _sums(about)
        counts = to_vector(sums, self._policy.min_cell, _group(request))
        if canaries := self._canaries.of(request):
            counts += to_vector(guess_sums(canaries, workload.head()), 1, AUDIT_GROUP)
        masked = request.masking is not None
        self._enter(request, "pooled" if masked else "own", counts.tobytes(), about)
        if masked:
            return counts
        released["audit"] = counts_of(from_vector(counts))
        return None

    def _private_update(self, request: Request, workload: Workload, model: np.ndarray) -> np.ndarray:
        """Of a run with `dp_epsilon`: the update, to which noise is added before it is masked; without masks the packed
        model, with all of the noise."""
        update, patients = workload.private_step(request, self._canaries.of(request)), workload.examples
        if request.masking is not None:
            return update
        key = self._policy.draw_noise(request, update, patients)
        return with_noise(request.settings, update, patients, key, model, workload.layout)

    def _with_upload(self, request: Request, done: _Work, transfers: Transfers) -> Reply:
        """The reply, after its upload if it has one."""
        if done.update is None:
            return done.reply
        began, metrics = time.monotonic(), self._metrics
        metrics.phase("upload")
        try:
            data = done.update
            if request.masking is not None:
                noise = b""
                if request.kind == "train" and request.settings.dp_epsilon:
                    noise = self._policy.draw_noise(request, done.update, done.reply.examples)
                data = self._masking.mask(request, done.update, alarm=done.alarm, noise=noise)
            receipt = transfers.upload(request.upload_url, data, request.deadline)
        except ProtocolError as exc:
            if not exc.clinic:
                raise
            log.error("round %d: %s. Nothing was sent but that clinic's name.", request.round, exc)
            return Reply.model_validate({**_head(request), "masking": {"accused": exc.clinic}})
        finally:
            metrics.phase("idle")
        metrics.transferred("up", len(data))
        kind: Kind = "update" if request.kind == "train" else "metrics"
        self._sent.note(kind, len(data), request.run, request.round)
        seconds = {"upload": round(time.monotonic() - began, 3), **done.reply.seconds}  # repeated: of the first time
        reply = done.reply.model_copy(update={"update": receipt, "seconds": seconds})
        self._last = replace(done, reply=reply)
        return reply

    def _about(self, request: Request, workload: Workload, embryos: Mapping[Split, ScoredEmbryos]) -> About:
        """Of these embryos those that an answer under masks is about."""
        return self._policy.about(request, {s: (workload.ids(s), e) for s, e in embryos.items()})

    def _enter(self, request: Request, released: Releases, answer: bytes, about: About) -> None:
        """Enter the answer to an evaluation into the ledger of questions, before it leaves."""
        self._policy.enter_answer(request, released, hashlib.sha256(answer).hexdigest(), about)

    def _evaluated(self, request: Request, workload: Workload) -> dict[Split, ScoredEmbryos]:
        """The embryos with the loaded model's scores, kept for the clinic's own page."""
        evaluated = {split: workload.evaluate(split) for split in _splits(request)}
        if request.kind != "audit":
            self._own_results.save(request, {split: evaluated[split] for split in SPLITS if split in evaluated})
        return evaluated

    def _released(
        self, request: Request, workload: Workload, evaluated: Mapping[Split, ScoredEmbryos], seed: int
    ) -> dict[str, object]:
        """The reply's metrics, counts of fewer embryos than the policy's `min_cell` withheld; nothing unless the policy
        releases the clinic's own."""
        if self._policy.metrics != "own" or request.kind == "audit":
            return {}
        final, min_cell, splits = request.kind == "evaluate", self._policy.min_cell, tuple(evaluated)
        metrics: dict[str, object] = {s: e.sums().suppress(min_cell).to_dict() for s, e in evaluated.items()}
        # A head is fine-tuned for the final model only; other personal models exist after every round but the first.
        if request.settings.personal and (final or request.settings.personal != "head"):
            results = workload.evaluate_personal(request, splits, seed)
            metrics["personal"] = {s: e.sums().suppress(min_cell).to_dict() for s, e in results.items()}
        if request.settings.grades and final:
            by_split = {s: workload.evaluate_grades(s, min_cell) for s in splits}
            metrics["grades"] = {s: {t: a.model_dump() for t, a in found.items()} for s, found in by_split.items()}
        return metrics


def _splits(request: Request) -> tuple[Split, ...]:
    """Whose patients are evaluated: test patients only at the end of a run, training patients only in an audit."""
    if request.work == "audit":
        return AUDITED
    return SPLITS if request.work == "evaluate" and not request.on_the_way else ("validation",)


def _group(request: Request) -> int:
    return AUDIT_GROUP if request.work == "audit" else GROUP


def _sums(about: About) -> dict[str, ScoreSums]:
    return {split: scored.sums() for split, scored in about.scored.items()}


def _head(request: Request) -> dict[str, object]:
    return {"kind": request.kind, "run": request.run, "round": request.round, "layout": request.layout}


def _work_of(request: Request) -> tuple[object, ...]:
    """What makes two requests the same work: all that decides what is computed, and whether it leaves under masks."""
    control = request.control.sha256 if request.control else ""
    decided = (request.model.sha256, digest(request.settings), control, request.masking is not None)
    return request.run, request.round, request.work, request.clinic, *decided
