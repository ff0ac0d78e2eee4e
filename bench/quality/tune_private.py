"""Choose axes, clip and step of a run with `dp_epsilon` without the test patients of the tables: see README.md.

    python bench/quality/tune_private.py [--epsilon 8] [--draws 20]

Each choice is tried on inner folds of the training and validation patients of each fold of day 5, as `tune.py` does, and on
synthetic clinics of a seed that no table has. Steps are those of clinics (`embryofl.privacy.gradient`), over the patients
of all together, with the noise that three clinics under masks make. AUROC is over all clinics' inner test embryos.
"""

import argparse
import math
import sys
from itertools import product
from pathlib import Path

import projection  # first: it makes the packages importable

# isort: split
import datasets
import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from embryofl.privacy.accountant import mu_of
from embryofl.privacy.gradient import clipped_step
from embryofl.secagg.threshold import threshold
from embryofl.settings import LARGEST_DELTA, run_settings
from embryofl_data.dataset import pool
from embryofl_demo.local_run import prepared

ROUNDS = 15
AXES, CLIPS, STEPS = (8, 16, 32, 64), (0.25, 0.5, 1.0, 2.0), (2.5, 5.0, 10.0, 20.0, 40.0)
CLINICS = 3
WIDER = math.sqrt(CLINICS / (threshold(CLINICS) - 1))
"""Deviation of the noise of all clinics, beside that of those who are enough."""
SYNTHETIC = "synthetic-22"  # the projection is made of synthetic-21


class Fold:
    """Training patients of all clinics, and the embryos to measure on.

    Parameters
    ----------
    data : str
    fold, inner : int or None
    out : Path
    """

    def __init__(self, data: str, fold: int, inner: int | None, out: Path) -> None:
        settings = run_settings({"model": "lite0_head"})
        parts = [
            prepared(settings, datasets.load(folder, out / "cache" / data, settings.image_size, fold, inner))
            for folder in datasets.clinics(out / "data" / data).values()
        ]
        self._train, self._test = (pool([getattr(part, split) for part in parts]) for split in ("train", "test"))

    def auroc(self, mean: np.ndarray, axes: np.ndarray, clip: float, rate: float, mu: float, seed: int) -> float:
        """Of the last model of one run. `mu`: what one round tells; infinite for no noise."""
        rng, weights, train = np.random.default_rng(seed), np.zeros(len(axes) + 1), self._train
        features = ((train.pixels[train.rows] - mean) @ axes.T).astype(np.float32)
        noise = WIDER * clip / (int(train.groups.max()) + 1) / mu
        for _ in range(ROUNDS):
            step = clipped_step(weights, features, train.labels, train.embryos, train.groups, clip)
            weights += rate * (step + noise * rng.standard_normal(len(weights)))
        test = self._test
        scores = (test.pixels[test.rows] - mean) @ axes.T @ weights[:-1]
        embryos, first = np.unique(test.embryos, return_index=True)
        by_embryo = np.bincount(test.embryos, scores)[embryos] / np.bincount(test.embryos)[embryos]
        return float(roc_auc_score(test.labels[first], by_embryo))


def main() -> int:
    """Print the choices, the best first."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--epsilon", type=float, default=8.0)
    options.add_argument("--draws", type=int, default=20, help="of the noise")
    options.add_argument("--real", type=Path, default=projection.ROOT.parent / "shared" / "data" / "hungvuong")
    options.add_argument("--out", type=Path, default=projection.ROOT / ".embryofl" / "quality")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    for data in ("day5", projection.DRAWN, SYNTHETIC):
        datasets.prepare(data, chosen.out / "data" / data, chosen.real, 1)
    mu = mu_of(chosen.epsilon, LARGEST_DELTA) / math.sqrt(ROUNDS)
    drawn = projection.embeddings(projection.DRAWN, chosen.out)
    real = [Fold("day5", fold, inner, chosen.out) for fold, inner in product(range(3), range(3))]
    synthetic = [Fold(SYNTHETIC, fold, None, chosen.out) for fold in range(3)]
    found = []
    for count in AXES:
        mean, axes = projection.axes_of(drawn, count)
        for clip, rate in product(CLIPS, STEPS):
            areas = [
                [fold.auroc(mean, axes, clip, rate, mu, seed) for seed in range(chosen.draws)]
                for fold in real + synthetic
            ]
            by_fold = np.mean(areas, axis=1)
            plain = np.mean([fold.auroc(mean, axes, clip, rate, math.inf, 0) for fold in real])
            found.append((by_fold[: len(real)].mean(), by_fold[len(real) :].mean(), plain, count, clip, rate))
            print(".", end="", file=sys.stderr, flush=True)
    print(f"\nepsilon {chosen.epsilon:g}, {ROUNDS} rounds, {chosen.draws} draws of noise\n")
    print("| axes | clip | step | day 5, inner folds | synthetic | day 5 without noise |\n|---|---|---|---|---|---|")
    for real_area, synthetic_area, plain, count, clip, rate in sorted(found, reverse=True):
        print(f"| {count} | {clip:g} | {rate:g} | {real_area:.3f} | {synthetic_area:.3f} | {plain:.3f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
