"""One round of one clinic's training, for tests of what a clinic does."""

from collections.abc import Iterable

import numpy as np

from embryofl.messages import Request, round_seed
from embryofl.settings import RunSettings
from embryofl_clinic.workload.embryo import EmbryoWorkload


def train_rounds(
    clinic: EmbryoWorkload, packed: np.ndarray, settings: RunSettings, rounds: Iterable[int], name: str
) -> np.ndarray:
    """The packed model, uint8 (size,), after a clinic has trained these rounds one after the other, from `packed`."""
    for number in rounds:
        request = Request.model_construct(settings=settings, round=number, run="run-0001", kind="train")
        clinic.load(packed)
        packed = clinic.train(request, round_seed(settings.seed, number, name)).packed
    return packed
