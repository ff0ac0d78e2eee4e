"""What a clinic computes: its model and data stay loaded between rounds. Free of transport."""

import contextlib
import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from embryofl import packing, task
from embryofl.errors import NotFiniteError, UserError
from embryofl.gardner import Agreement, Target
from embryofl.masked_update import PATIENT_CLIP
from embryofl.messages import Request
from embryofl.metrics import FloatArray, IntArray, ScoredEmbryos
from embryofl.models.zoo import create_model
from embryofl.privacy.gradient import clipped_step, within
from embryofl.settings import RunSettings
from embryofl.views import Views
from embryofl.wire import Layout
from embryofl_clinic.exporter import TrainerMetrics
from embryofl_clinic.privacy.canaries import Canaries
from embryofl_clinic.settings import ClinicSettings
from embryofl_clinic.workload.personal import Personal, PersonalStore
from embryofl_clinic.workload.task_losses import newest_losses, save_losses
from embryofl_data.dataset import load_clinic_data
from embryofl_data.embeddings import Embedder, with_embeddings

log = logging.getLogger("embryofl.workload")

PROGRESS_S = 5.0  # between two log lines about progress


@dataclass(frozen=True)
class Trained:
    """The outcome of local training: packed model, mean loss, and number of training embryos. Under masks, loss and model
    need not be finite."""

    packed: np.ndarray
    loss: float
    examples: int


class Workload(Protocol):
    """One model with one clinic's data."""

    layout: Layout
    device: str

    @property
    def examples(self) -> int:
        """Number of training embryos; in a run with `dp_epsilon` of training patients."""

    def load(self, packed: np.ndarray) -> None:
        """Load a packed global model. Raises `NotFiniteError` if not all of its weights are finite."""

    def unscored(self, split: str) -> ScoredEmbryos:
        """The embryos of a split, ``validation`` or ``test``, each with a score of 0.5: no model is involved."""

    def ids(self, split: str) -> list[str]:
        """A digest of each embryo's images, in the order of their scores; empty where it is not known."""

    def patients(self, split: str) -> IntArray:
        """The number of each embryo's patient, in the order of their scores; where no patient is known, of the embryo."""

    def features(self, split: str) -> FloatArray | None:
        """What a frozen network gives of each embryo, float64 (n, d), where only a head above it is trained; else None."""

    def evaluate(self, split: str) -> ScoredEmbryos:
        """The embryos of a split, ``validation`` or ``test``, and for an audit ``train``, with their scores."""

    def train(self, request: Request, seed: int, control: np.ndarray | None = None) -> Trained:
        """Train from the loaded model; `control` is the drift correction, packed like the model, where the run has one."""

    def private_step(self, request: Request, canaries: Canaries | None = None) -> np.ndarray:
        """The update of a run with `dp_epsilon`, without its noise, from the loaded model: float64 (layout.floats,).

        Canaries that are in give as much as a patient can, and do not count as patients: what one patient can change of
        the update is the same with and without them.
        """

    def head(self) -> FloatArray:
        """Weights and bias of the loaded model, float64 (d + 1,), where only a head is trained."""

    def evaluate_personal(self, request: Request, splits: Sequence[str], seed: int) -> dict[str, ScoredEmbryos]:
        """The same by split with the personal model that belongs to the loaded one, which stays loaded."""

    def evaluate_grades(self, split: str, fewest: int) -> dict[Target, Agreement]:
        """How predicted Gardner grades agree with given ones over the embryos of a split; withheld below `fewest`."""


def pick_device(wanted: str) -> str:
    """The device for ``cpu``, ``cuda`` or ``auto`` (CUDA where there is one)."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "S8",
            "EMBRYOFL_DEVICE=cuda, but PyTorch finds no CUDA device here. Expected an NVIDIA driver and, in a container, "
            "`--gpus all` and a CUDA build of PyTorch (compose.gpu.yaml). Or set EMBRYOFL_DEVICE=cpu.",
        )
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


class EmbryoWorkload:
    """A model of the zoo on the clinic's data folder; see `Workload`.

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
        self.data = load_clinic_data(data_dir, cache_dir, run.image_size)
        self.personal_dir = personal_dir or cache_dir / "personal"
        self._make_model(run, device, metrics)
        if isinstance(self.model, Embedder):
            self.data = with_embeddings(self.data, self.model, device, _log_embeddings())

    def _make_model(self, run: RunSettings, device: str, metrics: TrainerMetrics | None) -> None:
        self.device, self._metrics = device, metrics or TrainerMetrics("")
        self._by_patient = run.dp_epsilon > 0
        self.model = create_model(run.model, grades=bool(run.grades)).to(device)
        self.layout = packing.layout_of(self.model.state_dict())

    @property
    def examples(self) -> int:
        """See `Workload`. Where no patient is known, an embryo counts as one."""
        return int(self.data.train.groups.max()) + 1 if self._by_patient else len(self.data.train)

    def load(self, packed: np.ndarray) -> None:
        """See `Workload`."""
        packing.load(packed, self.layout, self.model.state_dict())
        if not packing.is_finite(packed, self.layout):
            raise NotFiniteError(
                "R6",
                "Found weights in the hub's model that are not finite; expected finite ones. The model is unusable.",
            )

    def unscored(self, split: str) -> ScoredEmbryos:
        """See `Workload`."""
        examples = getattr(self.data, split)
        first = Views(examples.embryos).first
        return ScoredEmbryos(np.full(len(first), 0.5), examples.labels[first], examples.days[first])

    def ids(self, split: str) -> list[str]:
        """See `Workload`. The second embryo of the same images has another one."""
        examples = getattr(self.data, split)
        images = [""] * (0 if examples.contents is None else len(examples))
        if images:
            for embryo, content in sorted(zip(examples.embryos.tolist(), examples.contents, strict=True)):
                images[embryo] += content
        seen: Counter[str] = Counter()
        for embryo, content in enumerate(images):
            seen[content] += 1
            images[embryo] = hashlib.sha256(f"{content} {seen[content]}".encode()).hexdigest()[:16]
        return images

    def patients(self, split: str) -> IntArray:
        """See `Workload`."""
        examples = getattr(self.data, split)
        return np.asarray(examples.groups[Views(examples.embryos).first], np.int64)

    def features(self, split: str) -> FloatArray | None:
        """See `Workload`."""
        examples = getattr(self.data, split)
        if not isinstance(self.model, Embedder):
            return None
        views = Views(examples.embryos)
        rows = examples.pixels[examples.rows].astype(np.float64)
        return np.stack([views.mean(column) for column in rows.T], axis=1)

    def evaluate(self, split: str) -> ScoredEmbryos:
        """See `Workload`."""
        return task.evaluate(self.model, getattr(self.data, split), device=self.device)

    def evaluate_grades(self, split: str, fewest: int) -> dict[Target, Agreement]:
        """See `Workload`."""
        return task.evaluate_grades(self.model, getattr(self.data, split), fewest, device=self.device)

    def evaluate_personal(self, request: Request, splits: Sequence[str], seed: int) -> dict[str, ScoredEmbryos]:
        """See `Workload`."""
        with self.personal_model(request, seed):
            return {split: self.evaluate(split) for split in splits}

    @contextlib.contextmanager
    def personal_model(self, request: Request, seed: int) -> Iterator[None]:
        """Inside the block, the loaded model is replaced by the personal model that belongs to it."""
        # A training reply of round r evaluates the model of round r - 1.
        number = request.round - 1 if request.kind == "train" else request.round
        global_model = self._personal(request).replace_global(number, self.data.train, seed)
        try:
            yield
        finally:
            self.load(global_model)

    def train(self, request: Request, seed: int, control: np.ndarray | None = None) -> Trained:
        """See `Workload`. Logs progress every `PROGRESS_S` seconds. Under masks, training that fails is not an error."""
        run, scale = request.settings, request.settings.rate_scale(request.round)
        personal, folder = self._personal(request), self.personal_dir / request.run
        received, masked = personal.before_training(request.round), request.masking is not None
        self._metrics.begin_training(self.examples, run.batch_size, run.local_epochs)
        due = _every(PROGRESS_S)

        def progress(done: int, total: int, loss: float) -> None:
            self._metrics.progress(done, total, loss)
            if due():
                log.info("round %d: batch %d of %d, loss %.4f", request.round, done, total, loss)

        correction = None
        if control is not None and run.control:
            correction = task.StepCorrection(run.control, packing.unpack(control, self.layout))
        result = task.train(
            self.model,
            self._metrics.timed(self.data.train),
            run.training,
            seed=seed,
            device=self.device,
            learning_rate_scale=scale,
            progress=progress,
            control=correction,
            tasks=newest_losses(folder, request.round - 1, run.tasks) if run.tasks else None,
            to_the_end=masked,
        )
        if result.tasks is not None:
            save_losses(folder, request.round, result.tasks)
        packed = personal.after_training(request.round, received)
        personal.train_alongside(request.round, received, self.data.train, seed, scale, to_the_end=masked)
        return Trained(packed, result.loss, result.examples)

    def head(self) -> FloatArray:
        """See `Workload`."""
        state = self.model.state_dict()
        return np.append(state["head.weight"].cpu().numpy(), state["head.bias"].cpu().numpy()).astype(np.float64)

    def private_step(self, request: Request, canaries: Canaries | None = None) -> np.ndarray:
        """See `Workload`."""
        train, count = self.data.train, self.examples
        self._metrics.begin_training(count, count, 1)
        features, labels = np.asarray(train.pixels[train.rows], np.float32), train.labels
        embryos, patients = train.embryos, train.groups
        if canaries is not None:
            more, their_labels, owners = canaries.patients()
            features, labels = np.append(features, more, axis=0), np.append(labels, their_labels)
            embryos = np.append(embryos, embryos.max() + 1 + np.arange(len(more)))
            patients = np.append(patients, count + owners)
        step = clipped_step(self.head(), features, labels, embryos, patients, PATIENT_CLIP)
        if canaries is not None:
            step = within(step * ((count + np.count_nonzero(canaries.included)) / count), PATIENT_CLIP)
        step *= request.settings.learning_rate
        parts = {"head.weight": step[:-1], "head.bias": step[-1:]}
        return np.concatenate([parts[tensor.name] for tensor in self.layout.tensors])

    def _personal(self, request: Request) -> Personal:
        return Personal(PersonalStore(self.personal_dir), request.run, request.settings, self.model, self.layout)


def _every(seconds: float) -> Callable[[], bool]:
    """A function that is true at most once in this time."""
    last = time.monotonic()

    def due() -> bool:
        nonlocal last
        if time.monotonic() - last <= seconds:
            return False
        last = time.monotonic()
        return True

    return due


def _log_embeddings() -> Callable[[int, int], None]:
    """Logs the progress of computing embeddings, which happens once for a folder."""
    due = _every(PROGRESS_S)

    def progress(done: int, total: int) -> None:
        if due() or done == total:
            log.info("features of %d of %d images computed", done, total)

    return progress


class WorkloadCache:
    """Keeps one workload loaded; it is rebuilt for a new run, another model or another image size."""

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
            self._current, self._key = self._make(run, self._metrics), key
        return self._current

    def warm_up(self) -> None:
        """Decode the images and build the default model before the first request."""
        self._make(RunSettings(), None)

    def _make(self, run: RunSettings, metrics: TrainerMetrics | None) -> Workload:
        settings = self._settings
        device, personal = pick_device(settings.device), settings.state_dir / "personal"
        return EmbryoWorkload(run, settings.data_dir, settings.cache_dir, device, metrics, personal)
