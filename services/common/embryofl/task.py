"""Train and evaluate a model on one clinic's images. Knows nothing of rounds, hubs or other clinics."""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from embryofl.errors import NotFiniteError, UserError
from embryofl.examples import Examples, graded_steps
from embryofl.gardner import STEPS, Agreement, Target, agreement
from embryofl.metrics import ScoredEmbryos
from embryofl.models.grades import grade_losses, with_grades
from embryofl.optimisers import OPTIMISERS, Optimiser
from embryofl.settings import TrainSettings
from embryofl.transforms import augment
from embryofl.views import Views
from embryofl.weighting import LABEL, TaskLosses, TaskMeans

log = logging.getLogger("embryofl.workload")

RAREST = 20
"""A class rarer than one in `RAREST` on a day is weighted as if it were that frequent."""

BATCH = 64
"""Images whose scores are computed at once."""

NO_SCORE = 0.5
"""In place of a score that is not a number."""

Progress = Callable[[int, int, float], None]
"""Called after each batch with the batches done, their total, and the mean loss so far."""


@dataclass(frozen=True)
class StepCorrection:
    """A drift correction: what is added to the clinic's own local steps.

    Attributes
    ----------
    how : {"steps", "gradients"}
        Added to each step of the optimiser, whatever it made of the gradient (as SCAFFOLD's control variates, which for
        plain SGD is the paper's y - lr (g + c - c_i)), or to the gradient (as FedDyn's linear term).
    tensors : mapping of str to torch.Tensor
        By parameter; those of parameters that are not trained are ignored.
    """

    how: Literal["steps", "gradients"]
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class TrainResult:
    """Mean loss over all batches, embryos in the set, batches; and the losses of the tasks, where these decide the tasks'
    weights."""

    loss: float
    examples: int
    batches: int
    tasks: TaskLosses | None = None


def train(
    model: nn.Module,
    examples: Examples,
    settings: TrainSettings,
    *,
    seed: int,
    device: str | torch.device = "cpu",
    learning_rate_scale: float = 1.0,
    progress: Progress | None = None,
    anchor: Mapping[str, Tensor] | None = None,
    control: StepCorrection | None = None,
    tasks: TaskLosses | None = None,
    to_the_end: bool = False,
) -> TrainResult:
    """Train a model in place.

    On one CPU thread the same weights, examples, settings and seed give the same weights, bit for bit. PyTorch's global
    generators are left as they were.

    Parameters
    ----------
    model : torch.nn.Module
        Images (n, 3, s, s), or embeddings (n, d), to logits (n,); is moved to `device` and left there in training mode.
    examples : Examples
        At least one.
    settings : TrainSettings
    seed : int
        Fixes the order of images, the augmentation and the dropout.
    device : str or torch.device (default: "cpu")
    learning_rate_scale : float (default: 1.0)
        Factor for the learning rate of this call.
    progress : callable, optional
        See `Progress`.
    anchor : mapping of str to torch.Tensor, optional
        By parameter: what `settings.proximal` pulls towards. Default: the weights at the start.
    control : StepCorrection, optional
    tasks : TaskLosses, optional
        Of the local epochs before: label and grades are weighted by how their losses change, and the result has the losses
        of this call's epochs. None: the weights are fixed.
    to_the_end : bool (default: False)
        A loss that is not finite is no error: all steps are taken, so that neither a failure nor its time tells of an
        embryo, and the result's loss is not finite either.

    Raises
    ------
    UserError
        If there is nothing to train on.
    NotFiniteError
        If the loss is not finite.
    """
    if len(examples.rows) == 0:
        raise UserError("D4", "Found no images to train on; expected at least one.")
    device = torch.device(device)
    generator = torch.Generator().manual_seed(seed)
    model.to(device).train()
    rate = settings.learning_rate * learning_rate_scale
    optimiser = _optimiser(model, settings, rate)
    trained = [p for p in model.parameters() if p.requires_grad]
    pulled_to = _trained_of(model, anchor) if settings.proximal else []
    corrections = [t.to(device) for t in _trained_of(model, control.tensors)] if control else []
    views = Views(examples.embryos)
    steps = torch.from_numpy(graded_steps(examples, views)) if settings.grades else None
    labels = torch.from_numpy(np.asarray(examples.labels[views.first], np.float32))
    weights = class_weights(labels, torch.from_numpy(np.asarray(examples.days[views.first])), settings.balance)
    targets = labels * (1 - settings.label_smoothing) + settings.label_smoothing / 2
    count = len(labels)
    total = settings.steps(count)
    done, sum_of_losses = 0, 0.0
    precision = _precision(device) if settings.mixed_precision else None
    scaler = torch.amp.GradScaler(device.type, enabled=precision is torch.float16)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for _ in range(settings.local_epochs):
            epoch = TaskMeans(tasks)
            shown = views.first
            if views.several:
                shown = views.chosen(torch.rand(count, generator=generator, dtype=torch.float64).numpy())
            order = torch.randperm(count, generator=generator)
            for start in range(0, count, settings.batch_size):
                batch = order[start : start + settings.batch_size]
                inputs = _inputs(examples, shown[batch.numpy()], device)
                if inputs.ndim == 4:  # an embedding has nothing to rotate or flip
                    inputs = augment(inputs, generator)
                with torch.autocast(device.type, dtype=precision, enabled=precision is not None):
                    logits, graded = (model(inputs), None) if steps is None else with_grades(model, inputs)
                losses = nnf.binary_cross_entropy_with_logits(
                    logits.float(), targets[batch].to(device), weight=weights[batch].to(device), reduction="none"
                )
                loss = losses.mean()  # "mean" above rounds otherwise: other bits than those of earlier runs
                value = loss.item()
                loss = epoch.weighted(LABEL, loss, len(batch))
                if graded is not None and steps is not None:
                    for target, (further, known_steps, share) in grade_losses(
                        graded.float(), steps[batch].to(device)
                    ).items():
                        loss = loss + settings.grades * share * epoch.weighted(target, further, known_steps)
                if settings.proximal:
                    distances = [(p - p0).square().sum() for p, p0 in zip(trained, pulled_to, strict=True)]
                    loss = loss + settings.proximal / 2 * torch.stack(distances).sum()
                if not (to_the_end or math.isfinite(value)):
                    raise NotFiniteError(
                        "R6",
                        f"The training loss became {value} in batch {done + 1} of {total}; expected a finite number. "
                        f"Lower the learning rate (now {rate:g}).",
                    )
                optimiser.zero_grad()
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                if control and control.how == "gradients":
                    scaler.unscale_(optimiser)  # type: ignore[arg-type]  # reads its param_groups alone
                    _add([p.grad for p in trained], corrections, 1.0)
                scaler.step(optimiser)  # type: ignore[arg-type]
                scaler.update()
                if control and control.how == "steps":
                    _add(trained, corrections, -rate)
                done += 1
                sum_of_losses += value
                if progress is not None:
                    progress(done, total, sum_of_losses / done)
            tasks = tasks and tasks.then(epoch.means())
    return TrainResult(sum_of_losses / max(done, 1), count, done, tasks)


def predict(model: nn.Module, examples: Examples, *, device: str = "cpu") -> npt.NDArray[np.float64]:
    """Scores of the embryos: probabilities of class 1, float64 (m,), in the order of their numbers.

    The logits of an embryo's images are averaged. Scores stay with the clinic.
    """
    logits = np.concatenate([np.zeros(0), *_outputs(model, examples, model, device)])
    return torch.sigmoid(torch.from_numpy(Views(examples.embryos).mean(logits))).numpy()


def evaluate(model: nn.Module, examples: Examples, *, device: str = "cpu") -> ScoredEmbryos:
    """The embryos with their scores. An embryo counts once, however many images show it.

    A score that is not a number becomes `NO_SCORE`: with an error, a model could be made to fail on one image alone, and
    whoever sees the failure would know that it is there.
    """
    scores = predict(model, examples, device=device)
    if unusable := int(np.isnan(scores).sum()):
        log.error(
            "%d of %d scores are not numbers and count as %g: the model is unusable", unusable, len(scores), NO_SCORE
        )
        scores = np.nan_to_num(scores, nan=NO_SCORE)
    first = Views(examples.embryos).first
    cohorts = None if examples.cohorts is None else examples.cohorts[first]
    return ScoredEmbryos(scores, examples.labels[first], examples.days[first], cohorts)


def evaluate_grades(
    model: nn.Module, examples: Examples, fewest: int, *, device: str = "cpu"
) -> dict[Target, Agreement]:
    """How the Gardner grades predicted by a model with a head for them agree with the given ones: sums over embryos, none
    of fewer than `fewest`."""
    views = Views(examples.embryos)
    batches = _outputs(model, examples, lambda inputs: with_grades(model, inputs)[1], device)
    logits = np.concatenate([np.zeros((0, STEPS)), *batches])
    means = np.stack([views.mean(column) for column in logits.T], axis=1)
    return agreement(means, graded_steps(examples, views), fewest)


def _outputs(
    model: nn.Module, examples: Examples, give: Callable[[Tensor], Tensor], device: str
) -> Iterator[npt.NDArray[np.float64]]:
    """What `give` makes of the inputs of all images, in batches, float64 (n, ...), with the model in evaluation mode."""
    was_training = model.training
    model.to(device).eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(examples.rows), BATCH):
                batch = np.arange(start, min(start + BATCH, len(examples.rows)))
                yield give(_inputs(examples, batch, device)).double().cpu().numpy()
    finally:
        model.train(was_training)


def _inputs(examples: Examples, batch: npt.NDArray[np.int64], device: str | torch.device) -> Tensor:
    """Inputs of a batch of indices (n,) on the device: uint8 images (n, 3, s, s) or float32 embeddings (n, d)."""
    inputs = torch.from_numpy(np.ascontiguousarray(examples.pixels[examples.rows[batch]])).to(device)
    return inputs.permute(0, 3, 1, 2) if inputs.ndim == 4 else inputs


def _trained_of(model: nn.Module, source: Mapping[str, Tensor] | None) -> list[Tensor]:
    """Copies of the trained parameters, or of the tensors of their names in `source`, in the model's order."""
    parameters = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    return [(p if source is None else source[n]).detach().clone().to(p.device) for n, p in parameters]


def _add(tensors: Iterable[Tensor | None], additions: Iterable[Tensor], factor: float) -> None:
    with torch.no_grad():
        for tensor, addition in zip(tensors, additions, strict=True):
            if tensor is not None:  # a parameter without a gradient in this step
                tensor.add_(addition, alpha=factor)


def class_weights(labels: Tensor, days: Tensor, balance: float) -> Tensor:
    """Weight of each example, float32 (n,), mean 1, from float32 labels and days (n,).

    All days have the same total weight, and so do both classes of a day: otherwise a model learns the day itself, on which
    viability depends more than on anything in the image, and the day with the most images drowns the others. The weight of
    a class rarer than one in `RAREST` rises no further, so that a single embryo cannot outweigh a day.
    """
    weights = torch.ones(len(labels))
    for day in set(days.tolist()):
        on_day = days == day
        positives = labels[on_day].mean()
        frequency = torch.where(labels[on_day] == 1, positives, 1 - positives)
        lifted = frequency.clamp(min=1 / RAREST).pow(-balance)
        weights[on_day] = lifted / lifted.mean() / on_day.float().mean() ** balance
    return weights / weights.mean()


def _optimiser(model: nn.Module, settings: TrainSettings, learning_rate: float) -> Optimiser:
    make = OPTIMISERS.get(settings.optimiser)
    if make is None:
        raise UserError(
            "R1", f"Unknown optimiser {settings.optimiser!r}. Optimisers that exist: {', '.join(sorted(OPTIMISERS))}."
        )
    return make([p for p in model.parameters() if p.requires_grad], learning_rate, settings.weight_decay)


def _precision(device: torch.device) -> torch.dtype | None:
    """Type for mixed precision: bfloat16 where the GPU has it, else float16; None on the CPU."""
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
