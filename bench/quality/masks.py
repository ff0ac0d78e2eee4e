"""What masks change in a run's AUROC, and what the median over groups costs: the same trainings with and without.

    python bench/quality/masks.py [--model lite0_head] [--only day5,synthetic,nine] [--seeds 1] [--folds 0,1,2]

Every run goes through the hub's round loop and the clinics' own code, masks and fixed point included. Ends with 1 if masks
change an AUROC by more than 0.002.
"""

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
for service in ("common", "data", "server", "clinic", "datagen", "demo"):  # they need not be installed
    sys.path.append(str(ROOT / "services" / service))
sys.path.insert(0, str(HERE))

import datasets  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from jobs import Job, prepared  # noqa: E402

from embryofl.wire import Layout  # noqa: E402
from embryofl_demo import local_run  # noqa: E402
from embryofl_demo.intervals import Scored, estimate, sampled, stack  # noqa: E402

MOST = 0.002
MASKS, GROUPS = "masks", "median over groups"
PLAIN = "secure_aggregation=off"
COMPARED = (
    ("day5", MASKS, "groups=off", PLAIN),
    ("synthetic", MASKS, "groups=off", PLAIN),
    (datasets.NINE, MASKS, "groups=off", PLAIN),
    (datasets.NINE, GROUPS, "groups=auto", PLAIN),
)
"""Data, what is looked at, and settings with and without it."""


@dataclass(frozen=True)
class Ran:
    """The last model's numbers, float64 (floats,), and its scores of all clinics' test embryos."""

    weights: np.ndarray
    scored: Scored


def ran(job: Job, data: Path, cache: Path) -> Ran:
    """Do a job in this process."""
    settings, clinics = prepared(job, data, cache)
    made = local_run.run_locally(clinics, settings, local_run.initial_model(settings))
    sections = Layout.parse(made.packed.data).section_views(made.packed)
    weights = np.concatenate([section.astype(np.float64) for section in sections if section.dtype.kind == "f"])
    scored = local_run.scores_on_test_patients(clinics, made.packed)
    return Ran(weights, stack([scored[name] for name in sorted(scored)]))


class Trainings:
    """Runs over folds and seeds; each is done once.

    Parameters
    ----------
    chosen : argparse.Namespace
    """

    def __init__(self, chosen: argparse.Namespace) -> None:
        self._chosen = chosen
        self._done: dict[Job, Ran] = {}

    def of(self, data: str, setting: str, seed: int) -> dict[int, Ran]:
        """By fold."""
        chosen, made = self._chosen, {}
        for fold in chosen.folds:
            way = f"{chosen.strategy} rounds={chosen.rounds} seed={fold + seed * datasets.FOLDS} {setting}"
            job = Job(data, chosen.model, way, fold)
            if job not in self._done:
                self._done[job] = ran(job, chosen.out / "data", chosen.out / "cache")
                print(job.file, file=sys.stderr, flush=True)
            made[fold] = self._done[job]
        return made


def line(trainings: Trainings, seeds: int, data: str, what: str, setting: str, plain: str) -> tuple[str, float]:
    """A line of the table, and the largest difference of AUROC at any seed."""
    gaps, areas, apart = [], [], 0.0
    for seed in range(seeds):
        pair = [trainings.of(data, each, seed) for each in (setting, plain)]
        one, other = (sampled({fold: ran.scored for fold, ran in folds.items()}) for folds in pair)
        gaps.append(one - other)
        areas.append((one[0], other[0]))
        for fold, without in pair[1].items():
            far = np.linalg.norm(pair[0][fold].weights - without.weights) / np.linalg.norm(without.weights)
            apart = max(apart, float(far))
    gap, single = estimate(np.mean(gaps, axis=0)), np.asarray([samples[0] for samples in gaps])
    both = " | ".join(f"{area:.4f}" for area in np.mean(areas, axis=0))
    error = f"{single.std(ddof=1) / math.sqrt(seeds):.4f}" if seeds > 1 else "one seed"
    words = f"{gap.value:+.4f} | {error} | {gap.low:+.4f} to {gap.high:+.4f} | {np.abs(single).max():.4f} | {apart:.0e}"
    return f"| {data} | {what} | {both} | {words} |", float(np.abs(single).max())


def main() -> int:
    """Print the table; 1 if masks change an AUROC by more than they may."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default="lite0_head")
    options.add_argument("--strategy", default="fednova")
    options.add_argument("--only", default="day5,synthetic,nine", help="data sets, separated by commas")
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument(
        "--folds", type=lambda text: [int(x) for x in text.split(",")], default=[*range(datasets.FOLDS)]
    )
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--real", type=Path, default=ROOT.parent / "shared" / "data" / "hungvuong")
    options.add_argument("--out", type=Path, default=ROOT / ".embryofl" / "quality")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    print(
        f"{chosen.model}, {chosen.strategy}, {chosen.rounds} rounds, {len(chosen.folds)} folds, {chosen.seeds} seeds\n\n"
        "| data | what | AUROC with | without | difference | its standard error over seeds | 95 % by patient | "
        "largest of a seed | models differ by |\n|---|---|---|---|---|---|---|---|---|"
    )
    trainings, kept = Trainings(chosen), True
    for data, what, setting, plain in COMPARED:
        if data in chosen.only.split(","):
            datasets.prepare(data, chosen.out / "data" / data, chosen.real, 1)
            text, largest = line(trainings, chosen.seeds, data, what, setting, plain)
            print(text, flush=True)
            kept &= what != MASKS or largest <= MOST
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
