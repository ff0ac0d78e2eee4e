"""One job: one way of training one model on one fold of one data set, and the scores of the test embryos."""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import datasets

ROUNDS = {"lite0": 15, "lite0_head": 15, "lite0_16": 15, "small_cnn": 15}
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

    @property
    def federates(self) -> bool:
        """Whether the way is a strategy."""
        return self.way.split()[0] not in (POOLED, "alone", "alone-long")


def prepared(job: Job, data_dir: Path, cache_dir: Path, device: str = "cpu", **less: Any) -> tuple[Any, dict[str, Any]]:
    """The run settings of a job, `less` in place of some of them, and its clinics with their images or embeddings."""
    from embryofl_demo import local_run
    from embryofl_server.federation.run_settings import check_settings, parse_settings

    folders = datasets.clinics(data_dir / job.data)
    name, *options = job.way.split()
    values = parse_settings(options) if job.federates else {}
    settings = check_settings(
        {
            "model": job.model,
            "rounds": ROUNDS[job.model],
            "seed": job.fold,
            "min_clinics": len(folders),
            "strategy": name if job.federates else "fedavg",
            **values,
            **less,
        }
    )
    loaded = {n: datasets.load(f, cache_dir / job.data, settings.image_size, job.fold) for n, f in folders.items()}
    return settings, {
        n: local_run.LoadedWorkload(settings, local_run.prepared(settings, d), device) for n, d in loaded.items()
    }


def run(job: Job, data_dir: Path, cache_dir: Path, out: Path, device: str = "cpu", **less: Any) -> dict[str, Any]:
    """Do the job, write its result and return it. `less`: run settings for a quick try."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    from embryofl_demo import local_run

    torch.set_num_threads(1)
    began = time.monotonic()
    name, *options = job.way.split()
    settings, clinics = prepared(job, data_dir, cache_dir, device, **less)
    trained = clinics
    if not job.federates:
        everyone = local_run.pooled(clinics, settings)
        trained = {options[0]: clinics[options[0]]} if options else everyone
        if name == "alone-long":
            examples = everyone[local_run.POOLED].examples, clinics[options[0]].examples
            steps = -(-examples[0] // settings.batch_size) / -(-examples[1] // settings.batch_size)
            settings = settings.model_copy(update={"rounds": round(settings.rounds * max(1.0, steps))})
        settings = local_run.alone(settings)
    made = local_run.run_locally(trained, settings, local_run.initial_model(settings))
    packed, validation = made.packed, made.validation if job.federates else []
    personal = local_run.personal_scores(clinics, settings, made) if job.federates else {}
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
    """AUROC on the clinic's own validation patients, by which it would choose between two local models."""
    clinic.load(packed)
    auroc: float | None = clinic.evaluate("validation").sums().summary().auroc
    return auroc


def _test(clinics: Any, packed: Any) -> dict[str, dict[str, list[float]]]:
    """Score, label, day and number of the patient of each clinic's test embryos."""
    from embryofl_demo.local_run import scores_on_test_patients

    return {
        name: {
            "scores": [round(s, 7) for s in scored.scores.tolist()],
            "labels": scored.labels.tolist(),
            "strata": scored.strata.tolist(),
            "patients": scored.patients.tolist(),
        }
        for name, scored in scores_on_test_patients(clinics, packed).items()
    }
