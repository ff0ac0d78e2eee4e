"""Train and evaluate a model on one clinic's images. Knows nothing of rounds, hubs or other clinics.

Evaluation is in `embryofl.evaluation`, and its functions are had from here, too. PyTorch is imported when a function is
called, so that settings can be had without it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from embryofl.errors import NotFiniteError, UserError
from embryofl.evaluation import evaluate, evaluate_grades, predict
from embryofl.examples import Examples, graded_steps, inputs_of
from embryofl.views import Views
from embryofl.weighting import LABEL, TaskLosses, TaskMeans

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = [
    "SGD_MOMENTUM",
    "StepCorrection",
    "Examples",
    "TrainResult",
    "TrainSettings",
    "cosine_scale",
    "evaluate",
    "evaluate_grades",
    "local_steps",
    "local_travel",
    "predict",
    "rate_scale",
    "train",
]

RAREST = 20
"""A class that is rarer than one in so many on a day is weighted as if it were that frequent."""

SGD_MOMENTUM = 0.9

Progress = Callable[[int, int, float], None]
"""Called after each batch with the batches done, their total, and the mean loss so far."""


@dataclass(frozen=True)
class TrainSettings:
    """How to train; what suits a model is in `embryofl.models.recipe`.

    Attributes
    ----------
    local_epochs : int
        Passes over the clinic's embryos in each call; each takes one image of every embryo, another one each time where
        there are several.
    batch_size : int
        Embryos a step.
    learning_rate : float
        At the start; see `learning_rate_scale` of `train`.
    weight_decay : float
        Decoupled (AdamW) or as an L2 term (SGD).
    optimiser : {"adamw", "sgd"}
        Fresh in each call: its state does not travel. SGD has momentum 0.9.
    label_smoothing : float
        Labels become ``smoothing / 2`` and ``1 - smoothing / 2``.
    balance : float
        0 counts every embryo once; 1 gives days, and both classes of each, the same weight in sum; between, a power of
        that.
    grades : float
        Weight of the Gardner grades beside the label, on embryos that have them; 0: they are not learned.
    proximal : float
        FedProx's mu: half of it times the squared distance from the weights at the start (or from `anchor`) is added to
        the loss. 0 adds nothing.
    mixed_precision : bool
        Half precision where it is enough, on CUDA only; elsewhere it changes nothing.
    """

    local_epochs: int = 4
    batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    optimiser: Literal["adamw", "sgd"] = "adamw"
    label_smoothing: float = 0.0
    balance: float = 1.0
    proximal: float = 0.0
    mixed_precision: bool = False
    grades: float = 0.0


@dataclass(frozen=True)
class StepCorrection:
    """What steers the local steps beside the clinic's own gradients.

    Attributes
    ----------
    how : {"steps", "gradients"}
        Whether the tensors are added to each step of the optimiser, whatever the optimiser made of the gradient (as
        SCAFFOLD's control variates, which for plain SGD is the paper's y - lr (g + c - c_i)), or to the gradient (as
        FedDyn's linear term).
    tensors : mapping of str to torch.Tensor
        By parameter; those that are not trained are not looked at.
    """

    how: Literal["steps", "gradients"]
    tensors: Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class TrainResult:
    """What a training came to: mean loss over all batches, embryos in the set, batches and seconds; and the losses of the
    tasks, where they are weighted by them."""

    loss: float
    examples: int
    batches: int
    seconds: float
    tasks: TaskLosses | None = None


def cosine_scale(round_number: int, rounds: int, floor: float = 0.05) -> float:
    """Learning rate scale that falls from 1 in round 1 along a half cosine towards `floor` after the last round.

    Loshchilov and Hutter, "SGDR" (2017), without restarts, over rounds instead of steps.
    """
    done = min(max((round_number - 1) / max(rounds, 1), 0.0), 1.0)
    return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2


def rate_scale(schedule: str, round_number: int, rounds: int) -> float:
    """Learning rate scale of a round under a schedule: "cosine" (see `cosine_scale`) or "constant"."""
    return cosine_scale(round_number, rounds) if schedule == "cosine" else 1.0


def train(
    model: nn.Module,
    examples: Examples,
    settings: TrainSettings,
    *,
    seed: int,
    device: str | torch.device = "cpu",
    learning_rate_scale: float = 1.0,
    progress: Progress | None = None,
    anchor: Mapping[str, torch.Tensor] | None = None,
    control: StepCorrection | None = None,
    tasks: TaskLosses | None = None,
) -> TrainResult:
    """Train a model in place.

    On one CPU thread the weights afterwards are the same, bit for bit, for the same weights before, examples, settings
    and seed. PyTorch's global generators are left as they were.

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
        Factor for the learning rate of this call, for a schedule over calls such as `cosine_scale`.
    progress : callable, optional
        See `Progress`.
    anchor : mapping of str to torch.Tensor, optional
        By parameter: what `settings.proximal` pulls towards; the weights at the start if left out.
    control : StepCorrection, optional
    tasks : TaskLosses, optional
        Of the local epochs before: label and grades are weighted by how their losses change, and the losses of this
        call's epochs are in the result. None: the weights are fixed.

    Raises
    ------
    UserError
        If there is nothing to train on, or the loss is not finite.
    """
    import torch

    from embryofl.models.grades import grade_losses, with_grades
    from embryofl.transforms import augment

    if len(examples.rows) == 0:
        raise UserError("Found no images to train on; expected at least one.")
    device = torch.device(device)
    started = time.monotonic()
    generator = torch.Generator().manual_seed(seed)
    model.to(device).train()
    optimiser = _optimiser(model, settings, settings.learning_rate * learning_rate_scale)
    begun = _trained(model, anchor) if settings.proximal else []
    steering = [t.to(device) for t in _trained(model, control.tensors)] if control else []
    views = Views(examples.embryos)
    steps = torch.from_numpy(graded_steps(examples, views)) if settings.grades else None
    labels = torch.from_numpy(np.asarray(examples.labels[views.first], np.float32))
    weights = _class_weights(labels, torch.from_numpy(np.asarray(examples.days[views.first])), settings.balance)
    targets = labels * (1 - settings.label_smoothing) + settings.label_smoothing / 2
    count = len(labels)
    total = settings.local_epochs * math.ceil(count / settings.batch_size)
    done, sum_of_losses = 0, 0.0
    precision = _precision(device) if settings.mixed_precision else None
    scaler = torch.amp.GradScaler(device.type, enabled=precision is torch.float16)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for _ in range(settings.local_epochs):
            epoch = TaskMeans(tasks)
            seen = views.first
            if views.several:
                seen = views.chosen(torch.rand(count, generator=generator, dtype=torch.float64).numpy())
            for batch in _batches(count, settings.batch_size, generator):
                images = inputs_of(examples, seen[batch.numpy()], device)
                if images.ndim == 4:  # an embedding has nothing to turn or flip
                    images = augment(images, generator)
                with torch.autocast(device.type, dtype=precision, enabled=precision is not None):
                    logits, graded = (model(images), None) if steps is None else with_grades(model, images)
                losses = torch.nn.functional.binary_cross_entropy_with_logits(
                    logits.float(), targets[batch].to(device), weight=weights[batch].to(device), reduction="none"
                )
                loss = losses.mean()
                value = loss.item()
                loss = epoch.weighted(LABEL, loss, len(batch))
                if graded is not None and steps is not None:
                    for target, (further, known, share) in grade_losses(
                        graded.float(), steps[batch].to(device)
                    ).items():
                        loss = loss + settings.grades * share * epoch.weighted(target, further, known)
                if settings.proximal:
                    loss = loss + settings.proximal / 2 * _squared_distance(model, begun)
                if not math.isfinite(value):
                    raise NotFiniteError(
                        f"The training loss became {value} in batch {done + 1} of {total}; expected a finite number. "
                        f"Lower the learning rate (now {settings.learning_rate * learning_rate_scale:g})."
                    )
                optimiser.zero_grad(set_to_none=True)
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                if control and control.how == "gradients":
                    scaler.unscale_(optimiser)
                    _add([p.grad for p in model.parameters() if p.requires_grad], steering, 1.0)
                scaler.step(optimiser)
                scaler.update()
                if control and control.how == "steps":
                    rate = settings.learning_rate * learning_rate_scale
                    _add([p for p in model.parameters() if p.requires_grad], steering, -rate)
                done += 1
                sum_of_losses += value
                if progress is not None:
                    progress(done, total, sum_of_losses / done)
            tasks = tasks and tasks.then(epoch.means())
    return TrainResult(sum_of_losses / max(done, 1), count, done, time.monotonic() - started, tasks)


def local_steps(settings: TrainSettings, examples: int) -> float:
    """What the local steps of one call weigh together in the update, if all gradients were alike: for AdamW their number;
    for SGD with momentum rho, the sum over all steps of ``(1 - rho ** steps left) / (1 - rho)``.

    Wang et al., "Tackling the Objective Inconsistency Problem in Heterogeneous Federated Optimization", NeurIPS 2020,
    https://arxiv.org/abs/2007.07481, section 4 (the norm of a_i; Nesterov's variant differs by less than one step).
    """
    steps = settings.local_epochs * math.ceil(max(examples, 1) / settings.batch_size)
    if settings.optimiser != "sgd":
        return float(steps)
    rho = SGD_MOMENTUM
    return (steps - rho * (1 - rho**steps) / (1 - rho)) / (1 - rho)


def local_travel(settings: TrainSettings, examples: int, scale: float) -> float:
    """The sum of the learning rates of the local steps of one call: SCAFFOLD's K times eta.

    Parameters
    ----------
    scale : float
        Of the learning rate in this call; see `rate_scale`.
    """
    steps = settings.local_epochs * math.ceil(max(examples, 1) / settings.batch_size)
    return steps * settings.learning_rate * scale


def _trained(model: nn.Module, source: Mapping[str, torch.Tensor] | None) -> list[torch.Tensor]:
    """Copies of the trained parameters, or of the tensors of their names in `source`, in the model's order."""
    found = ((n, p) for n, p in model.named_parameters() if p.requires_grad)
    return [(p if source is None else source[n]).detach().clone().to(p.device) for n, p in found]


def _add(to: Iterable[torch.Tensor | None], what: Iterable[torch.Tensor], factor: float) -> None:
    import torch

    with torch.no_grad():
        for tensor, addition in zip(to, what, strict=True):
            if tensor is not None:  # a parameter without a gradient in this step
                tensor.add_(addition, alpha=factor)


def _squared_distance(model: nn.Module, begun: list[torch.Tensor]) -> torch.Tensor:
    """Squared Euclidean distance of the trained parameters from those in `begun`, ()."""
    import torch

    now = [p for p in model.parameters() if p.requires_grad]
    return torch.stack([(p - p0).square().sum() for p, p0 in zip(now, begun, strict=True)]).sum()


def _batches(count: int, size: int, generator: torch.Generator) -> list[torch.Tensor]:
    """Indices of `count` examples in random order, in batches, int64 (size,) each."""
    import torch

    order = torch.randperm(count, generator=generator)
    return [order[start : start + size] for start in range(0, count, size)]


def _class_weights(labels: torch.Tensor, days: torch.Tensor, balance: float) -> torch.Tensor:
    """Weight of each example, float32 (n,), mean 1.

    Days weigh the same in sum, and so do the classes of each day: otherwise a model learns the day itself, on which
    viability depends more than on anything in the picture, and the day with the most images drowns the others. A rarer
    class than one in `RAREST` is not lifted further, so that a single embryo cannot outweigh a day.
    """
    import torch

    weights = torch.ones(len(labels))
    for day in set(days.tolist()):
        on_day = days == day
        positives = labels[on_day].mean()
        frequency = torch.where(labels[on_day] == 1, positives, 1 - positives)
        lifted = frequency.clamp(min=1 / RAREST).pow(-balance)
        weights[on_day] = lifted / lifted.mean() / on_day.float().mean() ** balance
    return weights / weights.mean()


def _optimiser(model: nn.Module, settings: TrainSettings, learning_rate: float) -> torch.optim.Optimizer:
    import torch

    # Norms and biases are not decayed: decay would pull their scale to nothing.
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate)
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=learning_rate, momentum=SGD_MOMENTUM, nesterov=True)
    raise UserError(f"Unknown optimiser {settings.optimiser!r}. Optimisers that exist: adamw, sgd.")


def _precision(device: torch.device) -> torch.dtype | None:
    """Type for mixed precision: bfloat16 where the GPU has it, else float16; None on the CPU."""
    import torch

    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
