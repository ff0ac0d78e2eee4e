"""Train and evaluate a model on one clinic's images. Knows nothing of rounds, hubs or other clinics.

PyTorch is imported when a function is called, so that settings can be had without it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from embryofl.errors import NotFiniteError, UserError
from embryofl.gardner import STEPS, Agreement, Target, agreement
from embryofl.metrics import ScoreSums
from embryofl.views import Views

if TYPE_CHECKING:
    import torch
    from torch import nn

RAREST = 20
"""A class that is rarer than one in so many on a day is weighted as if it were that frequent."""

SGD_MOMENTUM = 0.9

Progress = Callable[[int, int, float], None]
"""Called after each batch with the batches done, their total, and the mean loss so far."""


class Examples(Protocol):
    """Labelled images, or what a frozen backbone made of them; what `embryofl.data` loads."""

    @property
    def pixels(self) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
        """All decoded images, uint8 (m, s, s, 3), or all embeddings, float32 (m, d)."""

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Rows of `pixels` that belong to this set, (n,)."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """0 or 1, (n,)."""

    @property
    def days(self) -> npt.NDArray[np.int64]:
        """Day of culture, 0 = unknown, (n,)."""

    @property
    def embryos(self) -> npt.NDArray[np.int64]:
        """Number of the embryo that each image shows, from 0 without gaps, (n,); see `embryofl.views`."""

    @property
    def cohorts(self) -> npt.NDArray[np.int64] | None:
        """Number of the patient of each image, (n,), -1 where it is not known; None where none is."""

    @property
    def grades(self) -> npt.NDArray[np.float32] | None:
        """Steps of the Gardner grades, (n, STEPS), NaN where not known; see `embryofl.gardner`."""


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
class Control:
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
    """What a training came to: mean loss over all batches, embryos in the set, batches and seconds."""

    loss: float
    examples: int
    batches: int
    seconds: float


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
    control: Control | None = None,
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
    control : Control, optional

    Raises
    ------
    UserError
        If there is nothing to train on, or the loss is not finite.
    """
    import torch

    from embryofl.models.grades import grade_loss, with_grades
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
    steps = torch.from_numpy(_steps(examples, views)) if settings.grades else None
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
            seen = views.first
            if views.several:
                seen = views.chosen(torch.rand(count, generator=generator, dtype=torch.float64).numpy())
            for batch in _batches(count, settings.batch_size, generator):
                images = _inputs(examples, seen[batch.numpy()], device)
                if images.ndim == 4:  # an embedding has nothing to turn or flip
                    images = augment(images, generator)
                with torch.autocast(device.type, dtype=precision, enabled=precision is not None):
                    logits, graded = (model(images), None) if steps is None else with_grades(model, images)
                losses = torch.nn.functional.binary_cross_entropy_with_logits(
                    logits.float(), targets[batch].to(device), weight=weights[batch].to(device), reduction="none"
                )
                loss = losses.mean()
                value = loss.item()
                further = None
                if graded is not None and steps is not None:
                    further = grade_loss(graded.float(), steps[batch].to(device))
                if further is not None:
                    loss = loss + settings.grades * further
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
    return TrainResult(sum_of_losses / max(done, 1), count, done, time.monotonic() - started)


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


def predict(
    model: nn.Module, examples: Examples, *, device: str | torch.device = "cpu", batch_size: int = 64
) -> npt.NDArray[np.float64]:
    """Scores of the embryos: probabilities of class 1, float64 (m,), in the order of their numbers.

    The logits of an embryo's images are averaged. Scores stay with the clinic.
    """
    import torch

    logits = _outputs(model, examples, model, torch.device(device), batch_size)
    if not logits:
        return np.zeros(0)
    means = Views(examples.embryos).mean(np.concatenate(logits))
    return np.asarray(torch.sigmoid(torch.from_numpy(means)).numpy())


def evaluate(
    model: nn.Module, examples: Examples, *, device: str | torch.device = "cpu", batch_size: int = 64
) -> ScoreSums:
    """Sums of the scores of the embryos, by day and class, and of how they are ranked within their patient's cohort; an
    embryo counts once, however many images show it.

    Raises
    ------
    UserError
        If a score is not a number: the weights are not finite.
    """
    scores = predict(model, examples, device=device, batch_size=batch_size)
    if not np.all(np.isfinite(scores)):
        raise NotFiniteError("Found scores that are not numbers; expected finite weights. The model given is unusable.")
    first = Views(examples.embryos).first
    cohorts = None if examples.cohorts is None else examples.cohorts[first]
    return ScoreSums.from_scores(scores, examples.labels[first], examples.days[first], cohorts)


def evaluate_grades(
    model: nn.Module, examples: Examples, fewest: int, *, device: str | torch.device = "cpu", batch_size: int = 64
) -> dict[Target, Agreement]:
    """How the Gardner grades that a model with the head for them predicts agree with the given ones: sums over embryos,
    none of fewer than `fewest`."""
    import torch

    from embryofl.models.grades import with_grades

    def steps(inputs: torch.Tensor) -> torch.Tensor:
        return with_grades(model, inputs)[1]

    views = Views(examples.embryos)
    logits = [np.zeros((0, STEPS)), *_outputs(model, examples, steps, torch.device(device), batch_size)]
    means = np.stack([views.mean(column) for column in np.concatenate(logits).T], axis=1)
    return agreement(means, _steps(examples, views), fewest)


def _steps(examples: Examples, views: Views) -> npt.NDArray[np.float32]:
    """The grades' steps of each embryo, float32 (m, STEPS), NaN where not known."""
    if examples.grades is None:
        return np.full((len(views), STEPS), np.nan, np.float32)
    return np.asarray(examples.grades[views.first], np.float32)


def _outputs(
    model: nn.Module, examples: Examples, give: Callable[[torch.Tensor], torch.Tensor], device: torch.device, size: int
) -> list[npt.NDArray[np.float64]]:
    """What `give` makes of the inputs of all images, the model in evaluation mode: batches, float64 (n, ...) each."""
    import torch

    was_training, found = model.training, []
    model.to(device).eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(examples.rows), size):
                batch = np.arange(start, min(start + size, len(examples.rows)))
                found.append(give(_inputs(examples, batch, device)).double().cpu().numpy())
    finally:
        model.train(was_training)
    return found


def _inputs(examples: Examples, batch: npt.NDArray[np.int64], device: torch.device) -> torch.Tensor:
    """Inputs of a batch of indices (n,) on the device: uint8 images (n, 3, s, s) or float32 embeddings (n, d)."""
    import torch

    taken = torch.from_numpy(np.ascontiguousarray(examples.pixels[examples.rows[batch]])).to(device)
    return taken.permute(0, 3, 1, 2) if taken.ndim == 4 else taken


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
