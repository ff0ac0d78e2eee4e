"""What a clinic computes: the model and the data it keeps warm between rounds. Free of transport."""

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from embryofl.messages import Request, RunSettings
from embryofl.metrics import ScoreSums
from embryofl.wire import Layout
from embryofl_clinic.exporter import TrainerMetrics
from embryofl_clinic.settings import ClinicSettings
from embryofl_clinic.workload.task_losses import TaskLossStore

if TYPE_CHECKING:
    from embryofl import task
    from embryofl.gardner import Agreement, Target
    from embryofl_clinic.workload.personal import Personal

log = logging.getLogger("embryofl.workload")


@dataclass(frozen=True)
class Trained:
    """Outcome of local training: the packed model, mean loss, and number of training embryos."""

    packed: np.ndarray
    loss: float
    examples: int


class Workload(Protocol):
    """One model with one clinic's data."""

    layout: Layout
    device: str

    @property
    def examples(self) -> int:
        """Number of training embryos."""

    def load(self, packed: np.ndarray) -> None:
        """Take over a packed global model."""

    def evaluate(self, split: str) -> ScoreSums:
        """Sums over the embryos of a split: ``validation`` or ``test``."""

    def train(self, request: Request, seed: int, control: np.ndarray | None = None) -> Trained:
        """Train from the loaded model, steered by `control` (packed like the model) where the run's settings say so."""

    def evaluate_personal(self, request: Request, splits: Sequence[str], seed: int) -> dict[str, ScoreSums]:
        """Sums by split of the clinic's own model that goes with the loaded one; leaves the loaded one in place."""

    def evaluate_grades(self, split: str, fewest: int) -> "dict[Target, Agreement]":
        """How predicted Gardner grades agree with given ones over the embryos of a split, none of fewer than `fewest`."""


def pick_device(wanted: str) -> str:
    """``auto`` is CUDA where there is one."""
    import torch

    from embryofl.errors import UserError

    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "EMBRYOFL_DEVICE=cuda, but PyTorch finds no CUDA device here. Expected an NVIDIA driver and, in a container, "
            "`--gpus all` and a CUDA build of PyTorch (compose.gpu.yaml). Or set EMBRYOFL_DEVICE=cpu."
        )
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


class EmbryoWorkload:
    """A model of the zoo on the clinic's data folder.

    Raises
    ------
    DataError
        When the folder cannot be trained on.
    """

    def __init__(
        self,
        run: RunSettings,
        data_dir: Path,
        cache_dir: Path,
        device: str,
        metrics: TrainerMetrics | None = None,
        personal_dir: Path | None = None,
    ) -> None:
        from embryofl_data import load_clinic_data
        from embryofl_data.embeddings import Embedder, with_embeddings

        self._data = load_clinic_data(data_dir, cache_dir, run.image_size)
        self._personal_dir = personal_dir or cache_dir / "personal"
        self._make_model(run, device, metrics)
        if isinstance(self._model, Embedder):
            self._data = with_embeddings(self._data, self._model, device, _EmbeddingProgress())

    def _make_model(self, run: RunSettings, device: str, metrics: TrainerMetrics | None) -> None:
        from embryofl.models import create_model

        self.device, self._metrics = device, metrics or TrainerMetrics("")
        self._model = create_model(run.model, grades=bool(run.grades)).to(device)
        self.layout = Layout.of_state(self._model.state_dict())

    @property
    def examples(self) -> int:
        """Number of training embryos."""
        return len(self._data.train)

    def load(self, packed: np.ndarray) -> None:
        """See `Workload`."""
        from embryofl import wire

        wire.load(packed, self.layout, self._model.state_dict())

    def evaluate(self, split: str) -> ScoreSums:
        """See `Workload`."""
        from embryofl import task

        return task.evaluate(self._model, getattr(self._data, split), device=self.device)

    def evaluate_grades(self, split: str, fewest: int) -> "dict[Target, Agreement]":
        """See `Workload`."""
        from embryofl import task

        return task.evaluate_grades(self._model, getattr(self._data, split), fewest, device=self.device)

    def _personal(self, request: Request) -> "Personal":
        from embryofl_clinic.workload.personal import Personal, PersonalStore

        return Personal(PersonalStore(self._personal_dir), request.run, request.settings, self._model, self.layout)

    def evaluate_personal(self, request: Request, splits: Sequence[str], seed: int) -> dict[str, ScoreSums]:
        """See `Workload`."""
        with self.wearing(request, seed):
            return {split: self.evaluate(split) for split in splits}

    @contextlib.contextmanager
    def wearing(self, request: Request, seed: int) -> Iterator[None]:
        """For a while the model is the clinic's own that goes with the loaded one."""
        from embryofl import wire

        # A training reply of round r speaks of the model of round r - 1.
        number = request.round - 1 if request.kind == "train" else request.round
        kept = self._personal(request).put_on(number, self._data.train, seed)
        try:
            yield
        finally:
            wire.load(kept, self.layout, self._model.state_dict())

    def train(self, request: Request, seed: int, control: np.ndarray | None = None) -> Trained:
        """See `Workload`. A line of progress every few seconds."""
        from embryofl import task, wire

        run, said = request.settings, time.monotonic()
        scale = task.rate_scale(run.schedule, request.round, run.rounds)
        personal = self._personal(request) if run.personal else None
        begun = wire.pack(self._model.state_dict(), self.layout) if run.personal == "model" else None
        sent = personal.before_training(request.round) if personal else None

        tasks, kept = run.tasks, TaskLossStore(self._personal_dir / request.run)
        if tasks is not None:
            tasks = kept.newest(request.round - 1, tasks)
        self._metrics.begin_training(self.examples, run.batch_size, run.local_epochs)

        def progress(done: int, total: int, loss: float) -> None:
            nonlocal said
            self._metrics.progress(done, total, loss)
            if time.monotonic() - said > 5:
                said = time.monotonic()
                log.info("round %d: batch %d of %d, loss %.4f", request.round, done, total, loss)

        result = task.train(
            self._model,
            self._metrics.timed(self._data.train),
            run.training,
            seed=seed,
            device=self.device,
            learning_rate_scale=scale,
            progress=progress,
            control=self._control(run, control),
            tasks=tasks,
        )
        if result.tasks is not None:
            kept.save(request.round, result.tasks)
        packed = wire.pack(self._model.state_dict(), self.layout)
        if personal:
            packed = personal.after_training(request.round, sent, packed)
        if personal and begun is not None:
            personal.train_beside(request.round, begun, self._data.train, seed, scale)
        return Trained(packed, result.loss, result.examples)

    def _control(self, run: RunSettings, packed: np.ndarray | None) -> "task.StepCorrection | None":
        if packed is None or not run.control:
            return None
        import torch

        from embryofl import task

        self.layout.check(packed)
        tensors = {n: torch.from_numpy(v.copy()) for n, v in self.layout.tensor_views(packed).items()}
        return task.StepCorrection(run.control, tensors)


class _EmbeddingProgress:
    """A line every few seconds while embeddings are computed, which happens once for a folder."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._said > 5 or done == total:
            self._said = time.monotonic()
            log.info("features of %d of %d images computed", done, total)


class WorkloadCache:
    """Keeps one workload warm: rebuilt when a run brings another model or image size, or a new run begins."""

    def __init__(self, settings: ClinicSettings, metrics: TrainerMetrics | None = None) -> None:
        self._settings, self._metrics = settings, metrics
        self._key: tuple[str, str, int] | None = None
        self._current: Workload | None = None

    def get(self, request: Request) -> Workload:
        """The workload for a request."""
        run = request.settings
        key = (request.run, run.model, run.image_size)
        if self._current is None or key != self._key:
            self._current = None  # free the old model first
            device = pick_device(self._settings.device)
            self._current = EmbryoWorkload(
                run,
                self._settings.data_dir,
                self._settings.cache_dir,
                device,
                self._metrics,
                self._settings.state_dir / "personal",
            )
            self._key = key
        return self._current

    def warm_up(self) -> None:
        """Decode the images and import PyTorch before the first request asks for them."""
        run = RunSettings()
        EmbryoWorkload(run, self._settings.data_dir, self._settings.cache_dir, pick_device(self._settings.device))
