"""A run in this process: the hub's round loop and the clinics' own code, without processes or network between them.

On one CPU thread the weights are those of a real run with the same settings, bit for bit.
"""

import contextlib
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embryofl import packing, task
from embryofl.messages import Request, round_seed
from embryofl.models.zoo import create_model
from embryofl.settings import RunSettings
from embryofl.views import Views
from embryofl_clinic.workload.embryo import EmbryoWorkload
from embryofl_data.dataset import ClinicData, pool
from embryofl_data.embeddings import Embedder, with_embeddings
from embryofl_data.split import SPLITS
from embryofl_demo.intervals import Scored
from embryofl_demo.local_fleet import FileTransfers, LocalFleet
from embryofl_server.federation.blobs import SignedUrls, Uploads
from embryofl_server.federation.checkpoint import Checkpoints
from embryofl_server.federation.loop import RoundLoop
from embryofl_server.federation.mailboxes import Mailboxes
from embryofl_server.federation.run_context import RunContext
from embryofl_server.federation.run_settings import with_masks
from embryofl_server.members.store import ClinicStore
from embryofl_server.runs.log import Runs
from embryofl_server.runs.progress import Progress
from embryofl_server.runs.view import RunView

POOLED = "pooled"


class LoadedWorkload(EmbryoWorkload):
    """A clinic's work on examples that are loaded already, such as those of several clinics together.

    Parameters
    ----------
    run : RunSettings
    data : ClinicData
        Of images, or of embeddings if the model takes those (see `prepared`).
    """

    def __init__(self, run: RunSettings, data: ClinicData, device: str = "cpu") -> None:
        self.data = data
        self._folder = tempfile.TemporaryDirectory(prefix="embryofl-")  # deleted with this object
        self.personal_dir = Path(self._folder.name)
        self._make_model(run, device, None)

    def scores(self) -> np.ndarray:
        """Scores of the test embryos, float64 (n,), in the order of their numbers. Only where one machine holds all data:
        in a federation scores stay at the clinic."""
        return task.predict(self.model, self.data.test, device=self.device)


def prepared(run: RunSettings, data: ClinicData) -> ClinicData:
    """The data as the run's model takes it: embeddings instead of images if it has a frozen backbone."""
    model = create_model(run.model)
    return with_embeddings(data, model, "cpu") if isinstance(model, Embedder) else data


def pooled(clinics: Mapping[str, LoadedWorkload], settings: RunSettings) -> dict[str, LoadedWorkload]:
    """One clinic with the examples of all, which no federation can have."""
    parts = [clinic.data for clinic in clinics.values()]
    sides = [pool([getattr(part, split) for part in parts]) for split in SPLITS]
    data = ClinicData(parts[0].folder, parts[0].image_size, *sides)
    return {POOLED: LoadedWorkload(settings, data, next(iter(clinics.values())).device)}


def initial_model(settings: RunSettings) -> np.ndarray:
    """The packed model, uint8 (size,), that the hub starts a run with."""
    model = create_model(
        settings.model, pretrained=settings.pretrained, seed=settings.seed, grades=bool(settings.grades)
    )
    return packing.pack(model.state_dict())


def alone(settings: RunSettings) -> RunSettings:
    """The settings with which one clinic trains for itself, with as many local epochs. Its task weights, where the
    strategy has any, stay: they need nobody else."""
    changes: dict[str, Any] = {"control": "", "personal": "", "proximal": 0.0}
    if not settings.task_weights:
        changes |= {"strategy": "fedavg", "strategy_settings": {}}
    return settings.model_copy(update=changes)


@dataclass(frozen=True)
class LocalRun:
    """The outcome of a run.

    Attributes
    ----------
    packed : ndarray of uint8, (size,)
        The final model.
    validation : list of float or None
        Pooled validation AUROC of the models of rounds 0, 1, ...
    rounds : int
        Complete rounds.
    """

    packed: np.ndarray
    validation: list[float | None]
    rounds: int


def run_locally(
    clinics: Mapping[str, EmbryoWorkload],
    settings: RunSettings,
    initial: np.ndarray,
    on_round: Callable[[str], None] | None = None,
) -> LocalRun:
    """Execute a run from the initial model; its files are temporary.

    Every clinic replies, so the settings' clinics, their minimum and quorum play no part, and none is ever suspended.
    Updates are masked as in a run of these clinics.

    Parameters
    ----------
    clinics : mapping of str to EmbryoWorkload
    settings : RunSettings
    initial : ndarray of uint8, (size,)
    on_round : callable, optional
        Takes a line about each complete round.
    """
    changes = {"clinics": [], "min_clinics": len(clinics), "quorum": 1.0, "suspend_after": 0}
    settings = with_masks(settings.model_copy(update=changes))
    with tempfile.TemporaryDirectory(prefix="embryofl-") as name:
        folder = Path(name)
        run = Runs(folder / "runs").create(settings)
        checkpoints = Checkpoints(run.folder, folder / "weights" / run.name, keep=4)
        checkpoints.save(0, initial, {"clinics": {}, "refused": {}})
        run.set_state("queued", 0)
        view, uploads = RunView(run), Uploads(folder / "uploads")

        def audit(event: str, **details: Any) -> None:
            if event == "round" and on_round is not None:
                number, auroc, *_ = view.refresh().curve()[-1]
                score = "withheld" if auroc is None else f"{auroc:.3f}"
                on_round(
                    f"round {details['round']} of {settings.rounds}, validation AUROC {score} (round {number:.0f})"
                )

        with contextlib.closing(ClinicStore(folder / "clinics.db")) as store:
            transfers = FileTransfers(folder / "weights", uploads)
            fleet = LocalFleet(clinics, settings.meaning, folder / "clinics", transfers)
            for clinic, key in fleet.public_keys.items():
                store.enrol(clinic, store.invite(clinic, 1), key, settings.meaning, {})
            context = RunContext(
                fleet=fleet,
                store=store,
                urls=SignedUrls(b"", lambda _: True),
                uploads=uploads,
                mailboxes=Mailboxes(uploads.arrived, used=False),
                progress=Progress(),
                audit=audit,
                suspend=lambda *_: None,
                idle_at=lambda _: 0.0,
            )
            RoundLoop(context, run, checkpoints, threading.Event()).execute()
        packed = np.fromfile(run.folder / "model.safetensors", np.uint8)
        validation = [auroc for _, auroc, *_ in view.refresh().curve()]
        return LocalRun(packed, validation, int(run.state["round"]))


def scores_on_test_patients(clinics: Mapping[str, LoadedWorkload], packed: np.ndarray) -> dict[str, Scored]:
    """A model's scores of each clinic's test patients."""
    scored = {}
    for name, clinic in clinics.items():
        clinic.load(packed)
        test = clinic.data.test
        first = Views(test.embryos).first
        scored[name] = Scored(clinic.scores(), test.labels[first], test.days[first], test.groups[first])
    return scored


def personal_scores(
    clinics: Mapping[str, LoadedWorkload], settings: RunSettings, run: LocalRun
) -> dict[str, np.ndarray]:
    """Scores of each clinic's test patients by its personal model after a run, float64 (n,) each; empty if the strategy has
    none."""
    scores = {}
    for name, clinic in clinics.items() if settings.personal else ():
        clinic.load(run.packed)
        request = Request.model_construct(settings=settings, round=run.rounds, run="run-0001", kind="evaluate")
        with clinic.personal_model(request, round_seed(settings.seed, run.rounds, name)):
            scores[name] = clinic.scores()
    return scores
