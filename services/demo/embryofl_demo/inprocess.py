"""A federation in this process: the same strategy, gate, seeds and order of summing as hub and clinics, without them.

On one CPU thread the weights are those of a real run with the same settings, bit for bit.
"""

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from embryofl.files import write_atomic
from embryofl.messages import Request, round_seed
from embryofl.metrics import SMALLEST_COUNT, ScoreSums, merge
from embryofl.settings import RunSettings
from embryofl_clinic.workload.embryo import EmbryoWorkload, Trained
from embryofl_data import ClinicData, pool
from embryofl_data.split import SPLITS
from embryofl_server.federation import gate
from embryofl_server.federation.strategies import ClinicUpdate, Round, State, Steering, make_strategy
from embryofl_server.federation.strategies.local_work import local_steps, local_travel
from embryofl_server.runs import metric_lines

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
        self.data = data
        self._folder = tempfile.TemporaryDirectory(prefix="embryofl-")  # goes with this object
        self.personal_dir = Path(self._folder.name)
        self._make_model(run, device, None)

    def scores(self, split: str) -> np.ndarray:
        """Scores of the embryos of a split, float64 (n,), in the order of their numbers. Only where one machine holds
        all data: in a federation scores stay at the clinic."""
        from embryofl import task

        return task.predict(self.model, getattr(self.data, split), device=self.device)


def prepared(run: RunSettings, data: ClinicData) -> ClinicData:
    """The data as the run's model takes it: embeddings in the place of images where it has a frozen backbone."""
    from embryofl.models.zoo import create_model
    from embryofl_data.embeddings import Embedder, with_embeddings

    model = create_model(run.model)
    return with_embeddings(data, model, "cpu") if isinstance(model, Embedder) else data


def pooled(parts: list[ClinicData]) -> ClinicData:
    """The examples of several clinics as one clinic's, which no federation can have."""
    sides = [pool([getattr(p, side) for p in parts]) for side in SPLITS]
    return ClinicData(parts[0].folder, parts[0].image_size, *sides)


def initial(settings: RunSettings) -> np.ndarray:
    """The packed model, uint8 (size,), that the hub begins a run with."""
    from embryofl import packing
    from embryofl.models.zoo import create_model

    model = create_model(
        settings.model, pretrained=settings.pretrained, seed=settings.seed, grades=bool(settings.grades)
    )
    return packing.pack(model.state_dict())


def _request(settings: RunSettings, number: int, kind: str = "train") -> Request:
    return Request.model_construct(settings=settings, round=number, run="run-0001", kind=kind)


def _train(
    clinic: EmbryoWorkload,
    packed: np.ndarray,
    settings: RunSettings,
    number: int,
    name: str,
    control: np.ndarray | None = None,
) -> Trained:
    clinic.load(packed)
    return clinic.train(_request(settings, number), round_seed(settings.seed, number, name), control)


class _Course:
    """How long a training goes on, and which of its models is the final one: as `rounds.RoundLoop` decides it,
    which knows the validation figures of a round's model only when the next round is over."""

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings
        self._best: metric_lines.Best | None = None
        self._kept = np.zeros(0, np.uint8)
        self._bests: list[metric_lines.Best | None] = []
        self.aurocs: list[float | None] = []

    def add(self, packed: np.ndarray, sums: Iterable[ScoreSums]) -> None:
        """Take in the next model and its validation figures as they leave the clinics, from the initial model on."""
        auroc = merge(s.suppress(SMALLEST_COUNT) for s in sums).summary().auroc
        if auroc is not None and (self._best is None or auroc > self._best[1]):
            self._best, self._kept = (len(self.aurocs), auroc), packed
        self.aurocs.append(auroc)
        self._bests.append(self._best)

    def ends_before(self, number: int) -> bool:
        """Whether training ends before this round."""
        known = number - 2  # the newest model that has been validated by then
        return known >= 0 and metric_lines.no_better_since(self._bests[known], known, self._settings.patience)

    def final(self, last: np.ndarray) -> np.ndarray:
        """The final model."""
        return self._kept if self._settings.choose == "best" and self._best is not None else last


def alone(clinic: EmbryoWorkload, name: str, settings: RunSettings, packed: np.ndarray) -> np.ndarray:
    """The packed model that a clinic by itself, or pooled clinics, end with after as many local epochs as a run has, or
    chosen by its own validation patients where the run's is."""
    by_itself = {"control": "", "personal": "", "strategy": "fedavg", "proximal": 0.0}
    settings = settings.model_copy(update=by_itself)
    course, looks = _Course(settings), settings.choose == "best" or settings.patience > 0
    for number in range(1, settings.rounds + 1):
        if looks:
            course.add(packed, evaluate_all({name: clinic}, packed, "validation").values())
        if looks and course.ends_before(number):
            break
        packed = _train(clinic, packed, settings, number, name).packed
    if looks:
        course.add(packed, evaluate_all({name: clinic}, packed, "validation").values())
    return course.final(packed)


@dataclass(frozen=True)
class FederationResult:
    """What a federation ends with.

    Attributes
    ----------
    packed : ndarray of uint8, (size,)
        The final global model.
    validation : list of float or None
        Pooled validation AUROC of the models of rounds 0, 1, ...
    rounds : int
        How many were done.
    """

    packed: np.ndarray
    validation: list[float | None]
    rounds: int


def federated(clinics: Clinics, settings: RunSettings, packed: np.ndarray, say: Say) -> FederationResult:
    """Conduct a run among these clinics from the initial model."""
    layout, strategy = next(iter(clinics.values())).layout, make_strategy(settings)
    state: State = {}
    before: list[float] = []
    validation, course, number = evaluate_all(clinics, packed, "validation"), _Course(settings), 0
    course.add(packed, validation.values())
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, settings.rounds + 1):
            if course.ends_before(number):
                number -= 1
                break
            scale = settings.rate_scale(number)
            sent: dict[str, ClinicUpdate] = {}
            for name, clinic in clinics.items():
                loss = validation[name].suppress(SMALLEST_COUNT).summary().loss
                control = strategy.control(layout, state, name) if isinstance(strategy, Steering) else None
                trained = _train(clinic, packed, settings, number, name, control)
                path = Path(folder) / name
                write_atomic(path, trained.packed.data)
                norm, steps = gate.distance(path, layout, packed), local_steps(settings.training, trained.examples)
                travel = local_travel(settings.training, trained.examples, scale)
                sent[name] = ClinicUpdate(name, path, trained.examples, norm, 1.0, steps, loss, travel, trained.loss)
            norms = {name: u.norm for name, u in sent.items()}
            scales, _ = gate.judge_norms(norms, before, settings.norm_clip, settings.norm_bound)
            updates = [replace(sent[name], scale=scale) for name, scale in scales.items()]
            made = strategy.aggregate(Round(number, layout, packed, updates, settings.proximal), state)
            packed, state, before = made.model, made.state, [u.norm for u in updates]
            validation = evaluate_all(clinics, packed, "validation")
            course.add(packed, validation.values())
            auroc = course.aurocs[-1]
            say(f"federated: round {number} of {settings.rounds}, validation AUROC {auroc or float('nan'):.3f}")
    return FederationResult(course.final(packed), course.aurocs, number)


def evaluate_all(clinics: Mapping[str, EmbryoWorkload], packed: np.ndarray, split: str) -> dict[str, ScoreSums]:
    """Sums of a model's scores at each clinic."""
    sums = {}
    for name, clinic in clinics.items():
        clinic.load(packed)
        sums[name] = clinic.evaluate(split).sums()
    return sums


def personal_scores(
    clinics: Clinics, settings: RunSettings, made: FederationResult, split: str
) -> dict[str, np.ndarray]:
    """Scores by each clinic's own model after a run, float64 (n,) each; empty where the strategy has none."""
    scores = {}
    for name, clinic in clinics.items() if settings.personal else ():
        clinic.load(made.packed)
        seed = round_seed(settings.seed, made.rounds, name)
        with clinic.wearing(_request(settings, made.rounds, "evaluate"), seed):
            scores[name] = clinic.scores(split)
    return scores
