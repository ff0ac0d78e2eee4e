"""A federation in this process: the same strategy, gate, seeds and order of summing as hub and clinics, without them.

On one CPU thread the weights are those of a real run with the same settings, bit for bit.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from embryofl.data import ClinicData, pool
from embryofl.data.split import SIDES
from embryofl.files import write_atomic
from embryofl.messages import Request, RunSettings, round_seed
from embryofl.metrics import SMALLEST_COUNT, ScoreSums, merge
from embryofl.task import local_steps
from embryofl_clinic.workload import EmbryoWorkload
from embryofl_server import gate
from embryofl_server.strategies import Round, State, Update, make_strategy

Say = Callable[[str], None]
Clinics = Mapping[str, "LoadedWorkload"]


class LoadedWorkload(EmbryoWorkload):
    """A clinic's work on examples that are loaded already, such as those of several clinics together.

    Parameters
    ----------
    run : RunSettings
    data : ClinicData
        Of images, or of embeddings where the model takes those (see `prepared`).
    """

    def __init__(self, run: RunSettings, data: ClinicData, device: str = "cpu") -> None:
        self._data = data
        self._make_model(run, device, None)

    @property
    def data(self) -> ClinicData:
        """What it trains and is evaluated on."""
        return self._data

    def scores(self, split: str) -> np.ndarray:
        """Scores of the embryos of a split, float64 (n,), in the order of their numbers. Only where one machine holds
        all data: in a federation scores stay at the clinic."""
        from embryofl import task

        return task.predict(self._model, getattr(self._data, split), device=self.device)


def prepared(run: RunSettings, data: ClinicData) -> ClinicData:
    """The data as the run's model takes it: embeddings in the place of images where it has a frozen backbone."""
    from embryofl.data.embeddings import Embedder, with_embeddings
    from embryofl.models import create_model

    model = create_model(run.model)
    return with_embeddings(data, model, "cpu") if isinstance(model, Embedder) else data


def pooled(parts: list[ClinicData]) -> ClinicData:
    """The examples of several clinics as one clinic's, which no federation can have."""
    sides = [pool([getattr(p, side) for p in parts]) for side in SIDES]
    return ClinicData(parts[0].folder, parts[0].image_size, *sides)


def initial(settings: RunSettings) -> np.ndarray:
    """The packed model, uint8 (size,), that the hub begins a run with."""
    from embryofl import wire
    from embryofl.models import create_model

    model = create_model(settings.model, pretrained=settings.pretrained, seed=settings.seed)
    return wire.pack(model.state_dict())


def _train(
    clinic: EmbryoWorkload, packed: np.ndarray, settings: RunSettings, number: int, name: str
) -> tuple[np.ndarray, int]:
    clinic.load(packed)
    request = Request.model_construct(settings=settings, round=number)
    trained = clinic.train(request, round_seed(settings.seed, number, name))
    return trained.packed, trained.examples


def alone(clinic: EmbryoWorkload, name: str, settings: RunSettings, packed: np.ndarray) -> np.ndarray:
    """The packed model that a clinic by itself, or pooled clinics, end with after as many local epochs as a run has."""
    for number in range(1, settings.rounds + 1):
        packed = _train(clinic, packed, settings, number, name)[0]
    return packed


@dataclass(frozen=True)
class Outcome:
    """What a federation ends with.

    Attributes
    ----------
    packed : ndarray of uint8, (size,)
        The final global model.
    validation : list of float or None
        Pooled validation AUROC of the models of rounds 0, 1, ...
    """

    packed: np.ndarray
    validation: list[float | None]


def federated(clinics: Clinics, settings: RunSettings, packed: np.ndarray, say: Say) -> Outcome:
    """Conduct a run among these clinics from the initial model."""
    layout, strategy = next(iter(clinics.values())).layout, make_strategy(settings)
    state: State = {}
    before: list[float] = []
    validation = evaluate_all(clinics, packed, "validation")
    aurocs = [merge(validation.values()).summary().auroc]
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, settings.rounds + 1):
            sent: dict[str, Update] = {}
            for name, clinic in clinics.items():
                loss = validation[name].suppress(SMALLEST_COUNT).summary().loss
                trained, examples = _train(clinic, packed, settings, number, name)
                path = Path(folder) / name
                write_atomic(path, trained.data)
                norm, steps = gate.distance(path, layout, packed), local_steps(settings.training, examples)
                sent[name] = Update(name, path, examples, norm, steps=steps, loss=loss)
            norms = {name: u.norm for name, u in sent.items()}
            scales, _ = gate.judge_norms(norms, before, settings.norm_clip, settings.norm_bound)
            updates = [replace(sent[name], scale=scale) for name, scale in scales.items()]
            made = strategy.aggregate(Round(number, layout, packed, updates), state)
            packed, state, before = made.model, made.state, [u.norm for u in updates]
            validation = evaluate_all(clinics, packed, "validation")
            aurocs.append(merge(validation.values()).summary().auroc)
            auroc = aurocs[-1]
            say(f"federated: round {number} of {settings.rounds}, validation AUROC {auroc or float('nan'):.3f}")
    return Outcome(packed, aurocs)


def evaluate_all(clinics: Mapping[str, EmbryoWorkload], packed: np.ndarray, split: str) -> dict[str, ScoreSums]:
    """Sums of a model's scores at each clinic."""
    sums = {}
    for name, clinic in clinics.items():
        clinic.load(packed)
        sums[name] = clinic.evaluate(split)
    return sums
