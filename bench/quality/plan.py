"""Which jobs the tables need, and roughly how long each takes."""

from datasets import FOLDS, REAL_SHARES, SYNTHETIC
from jobs import POOLED, Job

WAYS = [
    "fedavg",
    "fedavgm",
    "fedprox",
    "fedprox proximal=0.1",
    "fedadam",
    "fedyogi",
    "fedadagrad",
    "fednova",
    "qfedavg",
    "scaffold",
    "feddyn",
    "ditto",
    "finetuned_heads",
    "fedembryo",
    "clipped_fedavg",
    "median",
    "trimmed_mean",
    "geometric_median",
]
COSTLY = {
    "day5": [
        "fedavg",
        "fednova",
        "fedavg choose=best",
        "fednova choose=best",
        "scaffold",
        "feddyn",
        "ditto",
        "finetuned_heads",
        "fedembryo",
        "fedadam",
    ],
    "day3": ["fedavg", "fednova", "fedavg choose=best", "ditto"],
    "synthetic": ["fedavg", "fedavg choose=best", "fednova", "scaffold", "ditto", "finetuned_heads"],
}
"""Strategies measured with the default model, which takes minutes; the head alone takes seconds, so it gets all of them."""

SECONDS = {
    ("day5", "lite0"): 60,
    ("day3", "lite0"): 120,
    ("synthetic", "lite0"): 280,
    ("day5", "small_cnn"): 60,
    ("day3", "small_cnn"): 120,
    ("synthetic", "small_cnn"): 280,
}


def jobs() -> list[Job]:
    """All jobs of the tables."""
    planned = []
    for data in ("day5", "day3", "synthetic"):
        clinics = [f"clinic-{k}" for k in range(1, 1 + len(SYNTHETIC if data == "synthetic" else REAL_SHARES))]
        for model in ("lite0_head", "lite0", "small_cnn") if data == "day5" else ("lite0_head", "lite0"):
            ways = [*{"lite0_head": WAYS, "lite0": COSTLY[data], "small_cnn": ["fedavg", "fedbn"]}[model], POOLED]
            ways += [f"{how} {clinic}" for how in ("alone", "alone-long") for clinic in clinics]
            planned += [Job(data, model, way, fold) for way in ways for fold in range(FOLDS)]
    return planned


def rank(job: Job) -> int:
    """Order of the jobs if time is short: first the default model, and the baselines."""
    needed = job.way in ("fedavg", "fednova", POOLED) or job.way.startswith("alone")
    return {"lite0": 1 if needed else 2, "lite0_head": 0, "small_cnn": 3}[job.model]


def minutes(job: Job) -> float:
    """Rough core-minutes of a job."""
    seconds = SECONDS.get((job.data, job.model), 1.0)
    return seconds * (0.4 if job.way.startswith("alone ") else 2.0 if job.way == "ditto" else 1.0) / 60
