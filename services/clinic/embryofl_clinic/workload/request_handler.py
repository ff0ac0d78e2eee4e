"""From a request to the reply: check the policy, fetch the model, evaluate, train, upload. Free of flwr and HTTP."""

import logging
import time
from pathlib import Path
from typing import Protocol

from embryofl.errors import DataError
from embryofl.messages import Reply, Request, round_seed
from embryofl.wire import WireError
from embryofl_clinic.exporter import TrainerMetrics, memory
from embryofl_clinic.policy.rules import Policy
from embryofl_clinic.policy.sent import SentLog
from embryofl_clinic.workload.embryo import Trained, Workload
from embryofl_clinic.workload.own_results import OwnResultsFile, Split
from embryofl_clinic.workload.transfers import TransferRefused, Transfers

log = logging.getLogger("embryofl.clinic")


class Workloads(Protocol):
    """Gives the workload for a request, such as `WorkloadCache`."""

    def get(self, request: Request) -> Workload:
        """Raises `DataError` if the clinic's data cannot be used."""


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
    """

    def __init__(self, workloads: Workloads, policy: Policy, metrics: TrainerMetrics, state_dir: Path) -> None:
        self._workloads, self._policy, self._metrics = workloads, policy, metrics
        self._sent, self._own_results = SentLog(state_dir), OwnResultsFile(state_dir)
        self._last: tuple[tuple[str, int, str, str], Trained | None, Reply] | None = None

    def reply_to(self, request: Request, transfers: Transfers) -> Reply:
        """Do the work, or say in the reply why it is blocked.

        The same request again means that the first reply was lost: the reply is repeated without training again.
        """
        if self._last is not None and self._last[0] == _work_of(request):
            _, trained, reply = self._last
            if trained is not None:
                transfers.upload(request.upload_url, trained.packed, request.deadline)
                self._sent.note("update", len(trained.packed), request.run, request.round)
            return reply
        workload, blocked = None, self._policy.reason_to_block(request)
        if not blocked:
            try:
                workload = self._workloads.get(request)
                blocked = self._policy.reason_to_block(request, workload.examples)
            except DataError as exc:
                log.error("%s", exc)
                blocked = "the clinic's data folder cannot be used for training; its log says why"
        if workload is not None and not blocked and workload.layout.id != request.layout:
            log.error("the run's model is not the %s that this version of the clinic builds", request.settings.model)
            blocked = f"this version builds another {request.settings.model}: update the older of hub and clinic"
        if workload is None or blocked:
            return Reply.model_validate({**_head(request), "refused": blocked})
        trained, reply = self._work(request, workload, transfers)
        self._last = (_work_of(request), trained, reply)
        return reply

    def _work(self, request: Request, workload: Workload, transfers: Transfers) -> tuple[Trained | None, Reply]:
        seconds, lap_began, metrics = {}, time.monotonic(), self._metrics

        def lap(name: str, next_phase: str = "idle") -> None:
            nonlocal lap_began
            seconds[name], lap_began = round(time.monotonic() - lap_began, 3), time.monotonic()
            metrics.phase(next_phase)

        metrics.work(request.round, workload.device)
        metrics.phase("download")
        try:
            workload.load(transfers.download(request.model, request.deadline))
            control = transfers.download(request.control, request.deadline) if request.control else None
        except WireError as exc:
            raise TransferRefused(str(exc)) from exc
        metrics.transferred("down", request.model.size + (request.control.size if request.control else 0))
        lap("download", "evaluate")
        seed = round_seed(request.settings.seed, request.round, request.clinic)
        body = {**_head(request), **self._evaluate(request, workload, seed), "device": workload.device}
        lap("evaluate", "train" if request.kind == "train" else "idle")
        trained = None
        if request.kind == "train":
            trained = workload.train(request, seed) if control is None else workload.train(request, seed, control)
            lap("train", "upload")
            loading = round(metrics.take_loading(), 3)
            body |= {"examples": trained.examples, "train_loss": trained.loss}
            body["update"] = transfers.upload(request.upload_url, trained.packed, request.deadline)
            metrics.transferred("up", len(trained.packed))
            self._sent.note("update", len(trained.packed), request.run, request.round)
            lap("upload")
            seconds["loading"] = loading
            self._policy.count_round()
        body |= {"memory_bytes": memory(workload.device), "reconnects": metrics.reconnects}
        return trained, Reply.model_validate({**body, "seconds": seconds})

    def _evaluate(self, request: Request, workload: Workload, seed: int) -> dict[str, object]:
        """The reply's metrics of the loaded model, counts of fewer embryos than the policy's `min_cell` withheld."""
        final, min_cell = request.kind == "evaluate", self._policy.min_cell
        splits: tuple[Split, ...] = ("validation", "test") if final else ("validation",)
        evaluated = {split: workload.evaluate(split) for split in splits}
        self._own_results.save(request, evaluated)
        metrics: dict[str, object] = {s: e.sums().suppress(min_cell).to_dict() for s, e in evaluated.items()}
        # A head is fine-tuned for the final model only; other personal models exist after every round but the first.
        if request.settings.personal and (final or request.settings.personal != "head"):
            results = workload.evaluate_personal(request, splits, seed)
            metrics["personal"] = {s: e.sums().suppress(min_cell).to_dict() for s, e in results.items()}
        if request.settings.grades and final:
            metrics["grades"] = {s: workload.evaluate_grades(s, min_cell) for s in splits}
        return metrics


def _head(request: Request) -> dict[str, object]:
    return {"kind": request.kind, "run": request.run, "round": request.round, "layout": request.layout}


def _work_of(request: Request) -> tuple[str, int, str, str]:
    """What makes two requests the same work: run, round, kind, and the model that they start from."""
    return request.run, request.round, request.kind, request.model.sha256
