"""One job: one way of training one model on one fold of one data set, and the scores of the held-out embryos."""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import datasets

ROUNDS = {"lite0": 15, "lite0_head": 15, "small_cnn": 15}
POOLED = "pooled"


@dataclass(frozen=True)
class Job:
    """`way`: a strategy's name with its settings ("fedprox proximal=0.1"), "pooled", "alone clinic-1" (as many epochs as
    the federation) or "alone-long clinic-1" (as many steps as the pooled training)."""

    data: str
    model: str
    way: str
    fold: int

    @property
    def file(self) -> str:
        """Name of its result."""
        return f"{self.data}--{self.model}--{self.way.replace(' ', '_')}--{self.fold}.json"


def run(job: Job, data_dir: Path, cache_dir: Path, out: Path, device: str = "cpu", **less: Any) -> dict[str, Any]:
    """Do the job and write its result; returns it. `less`: run settings for a quick try."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    from embryofl_demo import inprocess
    from embryofl_server.federation.run_settings import check_settings, parse_settings

    torch.set_num_threads(1)
    began = time.monotonic()
    folders = datasets.clinics(data_dir / job.data)
    name, *options = job.way.split()
    federates = name not in (POOLED, "alone", "alone-long")
    values = parse_settings(options) if federates else {}
    settings = check_settings(
        {
            "model": job.model,
            "rounds": ROUNDS[job.model],
            "seed": job.fold,
            "min_clinics": len(folders),
            "strategy": name if federates else "fedavg",
            **values,
            **less,
        }
    )
    loaded = {n: datasets.load(f, cache_dir / job.data, settings.image_size, job.fold) for n, f in folders.items()}
    clinics = {
        n: inprocess.LoadedWorkload(settings, inprocess.prepared(settings, d), device) for n, d in loaded.items()
    }
    first = inprocess.initial(settings)
    validation: list[float | None] = []
    personal: dict[str, Any] = {}
    if federates:
        made = inprocess.federated(clinics, settings, first, lambda _: None)
        packed, validation = made.packed, made.validation
        personal = inprocess.personal_scores(clinics, settings, made, "test")
    else:
        whom = options[0] if options else POOLED
        together = inprocess.pooled([c.data for c in clinics.values()])
        worker = clinics[whom] if options else inprocess.LoadedWorkload(settings, together, device)
        if name == "alone-long":
            steps = -(-len(together.train) // settings.batch_size) / -(-worker.examples // settings.batch_size)
            settings = settings.model_copy(update={"rounds": round(settings.rounds * max(1.0, steps))})
        packed = inprocess.alone(worker, whom, settings, first)
    result = {**asdict(job), "device": device, "validation": validation, "test": _test(clinics, packed)}
    if name.startswith("alone"):
        result["own_validation"] = _validation(clinics[options[0]], packed)
    result["personal"] = {n: {**result["test"][n], "scores": s.round(7).tolist()} for n, s in personal.items()}
    result["seconds"] = round(time.monotonic() - began, 1)
    temporary = out / (job.file + f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(result))
    temporary.replace(out / job.file)
    return result


def _validation(clinic: Any, packed: Any) -> float | None:
    """AUROC on the clinic's own validation patients, by which it would choose between two models of its own."""
    clinic.load(packed)
    auroc: float | None = clinic.evaluate("validation").sums().summary().auroc
    return auroc


def _test(clinics: Any, packed: Any) -> dict[str, dict[str, list[float]]]:
    """Of each clinic's held-out embryos: score, label, day, and number of the patient."""
    from embryofl.views import Views

    found = {}
    for name, clinic in clinics.items():
        clinic.load(packed)
        side = clinic.data.test
        first = Views(side.embryos).first
        columns = {"labels": side.labels, "strata": side.days, "patients": side.groups}
        found[name] = {"scores": [round(s, 7) for s in clinic.scores("test").tolist()]}
        found[name] |= {key: values[first].tolist() for key, values in columns.items()}
    return found
