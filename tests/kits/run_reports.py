"""Finished runs with the metrics that clinics sent, for tests of the reports."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from embryofl.metrics import ScoreSums, merge
from embryofl.settings import RunSettings
from embryofl_server.federation import final_model
from embryofl_server.federation.checkpoint import Checkpoints
from embryofl_server.members.store import Clinic
from embryofl_server.report.decision import learn_calibration
from embryofl_server.report.summary import summarise
from embryofl_server.runs.evaluation import released_sums
from embryofl_server.runs.log import Run, Runs

REPORT = ("results.json", "model-card.json", "model-card.md", "model-card.html")
FILES = ("model.safetensors", "model.json", *REPORT, *(name.replace(".", "-public.") for name in REPORT))
SUMMARY = {
    "counts": {"5": {"1": 40, "0": 60, "unlabelled": "<5"}},
    "image_sizes": {},
    "patients": 20,
    "shows_metrics": True,
}

Scores = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def draw(seed: int, n: int = 150, separation: float = 1.2, good: float = 0.4, day: int = 5) -> Scores:
    """Scores, labels, days and patients of a clinic."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < good).astype(int)
    scores = 1 / (1 + np.exp(-rng.normal(separation * (labels - 0.5), 1.0)))
    return scores, labels, np.full(n, day), np.arange(n) // 6


def clinic_sums(*parts: Scores) -> dict[str, Any]:
    """The sums that a clinic sends, small groups withheld."""
    return merge(ScoreSums.from_scores(*part) for part in parts).suppress().to_dict()


def evaluation(**tests: Any) -> dict[str, Any]:
    return {
        n: {"validation": clinic_sums(draw(50 + i)), "test": test} for i, (n, test) in enumerate(sorted(tests.items()))
    }


def score_sums(*days: int, seed: int = 0, n: int = 120) -> dict[str, Any]:
    """The sums of `n` embryos on these days."""
    return clinic_sums(*(draw(seed + day, n // len(days), day=day) for day in days))


def results_of(final_evaluation: dict[str, Any]) -> dict[str, Any]:
    """`results.json` of a run, whose files are not made."""
    settings = RunSettings(rounds=2)
    record = {
        "run": "run-0001",
        "round": 2,
        "sha256": "0" * 64,
        "use": "",
        "settings": settings.model_dump(),
        "releases": dict.fromkeys(final_evaluation, "own"),
        "evaluation": final_evaluation,
        "pooled": {},
        "spent": [],
        "best_validation": None,
    }
    record["calibration"] = learn_calibration(released_sums(record, "validation"), settings)
    return summarise(record, [])


def maker(folder: Path, packed: Any) -> Any:
    """`make(evaluation, clinics=..., settings...)`: makes and returns a finished run of two rounds."""
    runs = Runs(folder / "runs")

    def write_one(
        final_evaluation: dict[str, Any] | None,
        clinics: dict[str, Clinic] | None = None,
        run: Run | None = None,
        incomplete: str = "",
        **settings: Any,
    ) -> Run:
        run = run or runs.create(RunSettings(rounds=2, **settings))
        checkpoints = Checkpoints(run.folder, folder / "weights" / run.name, 3)
        if checkpoints.latest() is None:
            checkpoints.save(0, packed(0), {"clinics": {}, "refused": {}})
            for number in (1, 2):
                clinic = {
                    "examples": 100,
                    "train_loss": 0.6,
                    "norm": 1.0,
                    "distance": 0.5,
                    "validation": clinic_sums(draw(number)),
                }
                record = {"clinics": {"anna": clinic, "bert": clinic}, "refused": {}, "began": 1.7e9 + number}
                checkpoints.save(number, packed(number), record)
            run.set_state("finished", 2)
        more = {} if final_evaluation is None else {"evaluation": final_evaluation, "refused": {}}
        clinics = clinics or {n: Clinic(n, "key", "enrolled", 0.0, "quality", SUMMARY) for n in ("anna", "bert")}
        model = checkpoints.latest()
        assert model is not None
        final_model.write_model(run, model, clinics, incomplete=incomplete, **more)
        return run

    return write_one


def read(run: Run, name: str) -> Any:
    def reject(word: str) -> float:
        raise AssertionError(f"{word} is not JSON")

    return json.loads((run.folder / name).read_text(), parse_constant=reject)
