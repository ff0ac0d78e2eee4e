"""Scores of a model on one clinic's images, and the sums of them that may leave the clinic."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from embryofl.errors import NotFiniteError
from embryofl.examples import Examples, graded_steps, inputs_of
from embryofl.gardner import STEPS, Agreement, Target, agreement
from embryofl.metrics import ScoreSums
from embryofl.views import Views

if TYPE_CHECKING:
    import torch
    from torch import nn


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
    return agreement(means, graded_steps(examples, views), fewest)


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
                found.append(give(inputs_of(examples, batch, device)).double().cpu().numpy())
    finally:
        model.train(was_training)
    return found
