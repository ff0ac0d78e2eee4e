"""What a hub that chooses the models reads of one embryo from released metrics: its label, and whether it is there.

    TMPDIR=/dev/shm python bench/privacy/attack.py [--data FOLDER] [--tries 200] [--model lite0_head] [--seed 0]

A try is real request handlers of three clinics, on real pictures and with nothing in `policy.toml` but `metrics`,
`peers = "first"` and `max_evaluations = 4`, and a hub that holds a picture. The hub plays runs. It asks in every round for
training under masks and for validation, and in the last one for the final evaluation, under masks, without, and with a
second model. Every model is aimed at the picture, in another shape. Everything that comes back is decoded
(`tests/kits/label_attack.py`), once more with the other two clinics' counts taken out of the sums, as by a hub that has
invented them. Ends with 1 unless `own` metrics give both away, and one run with `pooled` or `none` at most 0.60 of either.
"""

import argparse
import hashlib
import logging
import math
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests"))

import numpy as np
import torch
from pictures import CLINICS, TARGETS, Embryos, World

from embryofl.messages import Reply
from embryofl.metrics import SMALLEST_COUNT
from embryofl.metrics.from_histogram import auroc
from embryofl.pooled_metrics import SPLITS, from_vector, to_vector
from embryofl.secagg.fixed_point import Ring
from embryofl.settings import RunSettings
from embryofl_server.federation.run_settings import with_masks
from kits.head_clinics import Clinic, masked
from kits.label_attack import Aims, decoder, features, of_reply
from kits.pictures import Floats

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("anna", "bert", "cleo")
RUN = with_masks(RunSettings(model="lite0_head", rounds=2, min_clinics=CLINICS))
SHAPES = ("alone", "top", "sure", "wide")
RUNS = len(SHAPES)
"""Runs of a try, each with another shape in its last round, at clinics that allow so many. By default they allow one."""
MOST, LEAST = 0.60, 0.95
FOLDS = 5
Seen = list[list[float]]


@dataclass(frozen=True)
class Told:
    """What tries gave: of each, run and try what was seen of a picture that is inside and of one that is not.

    Attributes
    ----------
    inside, outside : list of list of list of float
        [run][try][...].
    coins : list of int
        The labels of those inside.
    """

    inside: list[Seen]
    outside: list[Seen]
    coins: list[int]


def in_sum(total: Ring) -> list[float]:
    """What the attacker looks at in a sum of counts."""
    sums = from_vector(total)
    return [value for split in SPLITS for value in features(sums[split].pooled())]


def counts(clinic: Clinic) -> Ring:
    """What a clinic puts under its mask for the model that it has evaluated: nothing new to a hub that has invented it."""
    return to_vector({split: clinic.workload.evaluate(split).sums() for split in SPLITS}, SMALLEST_COUNT)


def play(clinics: list[Clinic], run: int, aims: Aims, picture: Floats) -> tuple[list[float], list[float]]:
    """One run against a picture: everything that the first clinic's replies and the sums tell of metrics; and the same to a
    hub that knows what the other clinics put into the sums."""
    anna, seen, alone = clinics[0], [], []

    def read(reply: Reply) -> None:
        seen.extend(told := of_reply(reply))
        alone.extend(told)

    def ask(kind: str, round_: int, shape: int, under_masks: bool) -> None:
        head = aims.head(SHAPES[shape % RUNS], picture)
        model = hashlib.sha256(b"%d %d" % (run, shape)).hexdigest()
        if not under_masks:
            read(anna.ask(kind, run, round_, *head, model=model))
            return
        replies, total = masked(clinics, kind, run, round_, *head, model=model)
        for reply in replies[:: len(clinics)]:
            read(reply)
        if kind == "evaluate" and total is not None:
            seen.extend(in_sum(total))
            alone.extend(in_sum(total - sum(map(counts, clinics[1:]))))

    last = RUN.rounds
    for round_ in range(1, last + 1):
        shape = run + round_ - last
        ask("train", round_, shape - 1, under_masks=True)  # a request to train has the model of the round before
        ask("validate", round_, shape, under_masks=False)
    for shape in (run, run + 1):  # the second one is another model
        ask("evaluate", last, shape, under_masks=True)
        ask("evaluate", last, shape, under_masks=False)
    return seen, alone


def tried(embryos: Embryos, metrics: str, tries: int, seed: int) -> tuple[Told, Told]:
    """Play `RUNS` runs against so many pictures inside the first clinic's validation embryos, and as many outside: what a
    hub is told, and one that has invented the other clinics."""
    coins: list[int] = []
    told, invented = (Told([[] for _ in range(RUNS)], [[] for _ in range(RUNS)], coins) for _ in range(2))
    for number in range(math.ceil(tries / TARGETS)):
        world = World(embryos, (seed, number))
        aims, labels = Aims(world), world.rng.integers(0, 2, TARGETS)
        for target in range(min(TARGETS, tries - number * TARGETS)):
            for inside in (True, False):
                with tempfile.TemporaryDirectory(prefix="embryofl-") as folder:
                    world.start()
                    policy = f'peers = "first"\nmetrics = "{metrics}"\nmax_evaluations = {RUNS}\n'
                    clinics = [Clinic(name, Path(folder), policy, world, RUN) for name in NAMES[:CLINICS]]
                    picture = world.outside[target]
                    if inside:
                        clinics[0].workload.label(target, int(labels[target]))
                        picture = clinics[0].pictures[target]
                    for run in range(RUNS):
                        for one, seen in zip((told, invented), play(clinics, run, aims, picture), strict=True):
                            (one.inside if inside else one.outside)[run].append(seen)
            coins.append(int(labels[target]))
    return told, invented


def decoded(shapes: list[Seen], truth: list[int], worlds: np.ndarray) -> Floats:
    """Probability of 1 for each try, from decoders fitted on other worlds, with the shape that is best there: (n,)."""
    y, found = np.asarray(truth), np.full(len(truth), 0.5)
    every = [np.asarray(seen, np.float64) for seen in shapes]
    if not every[0].shape[1]:
        return found  # nothing was released
    for fold in range(FOLDS):
        held = worlds % FOLDS == fold
        rated = [(*decoder(seen[~held], y[~held]), seen[held]) for seen in every]
        _, best, seen = max(rated, key=lambda r: r[0])
        found[held] = best.predict_proba(seen)[:, 1]
    return found


def results(told: Told, runs: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Label accuracy and membership AUROC, each with its standard error, from one run or from all of a try."""
    n = len(told.coins)
    worlds = np.arange(n) // TARGETS
    inside, outside = (
        side if runs == 1 else [[sum(parts, []) for parts in zip(*side, strict=True)]]
        for side in (told.inside, told.outside)
    )
    label = decoded(inside, told.coins, worlds)
    right = float(np.where(label == 0.5, 0.5, (label > 0.5) == np.asarray(told.coins)).mean())
    both = [a + b for a, b in zip(inside, outside, strict=True)]
    member, truth = decoded(both, [1] * n + [0] * n, np.tile(worlds, 2)), np.repeat([1, 0], n)
    values, place = np.unique(member, return_inverse=True)
    area, error = auroc(np.bincount(truth * len(values) + place, minlength=2 * len(values)).reshape(2, -1))
    return (right, math.sqrt(right * (1 - right) / n)), (area or 0.5, error or 0.0)


def common_options(description: str | None) -> argparse.ArgumentParser:
    """Those of both attacks."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "hungvuong")
    options.add_argument("--cache", type=Path, default=ROOT / ".embryofl" / "privacy")
    options.add_argument("--model", choices=["lite0_head", "lite0"], default="lite0_head")
    options.add_argument("--seed", type=int, default=0)
    return options


def main() -> int:
    """Print the table; 1 if it is not as it must be."""
    options = common_options(__doc__)
    options.add_argument("--tries", type=int, default=200)
    options.add_argument("--metrics", default="own,pooled,none", help="separated by commas")
    chosen = options.parse_args()
    if chosen.tries < FOLDS * TARGETS:
        options.error(
            f"--tries {chosen.tries}: expected at least {FOLDS * TARGETS}, so that there are tries to fit a decoder on"
        )
    torch.set_num_threads(1)
    logging.getLogger("embryofl").setLevel(logging.CRITICAL)  # what clinics refuse is expected here
    chosen.cache.mkdir(parents=True, exist_ok=True)
    embryos, kept = Embryos(chosen.data, chosen.cache, chosen.model), True
    print(f"{chosen.model}, {chosen.tries} tries, seed {chosen.seed}; standard errors in brackets\n")
    print("| metrics | asked | label accuracy | membership AUROC |\n|---|---|---|---|")
    for metrics in chosen.metrics.split(","):
        began = time.monotonic()
        told, invented = tried(embryos, metrics, chosen.tries, chosen.seed)
        rows = [("1 run", told, 1), (f"{RUNS} runs", told, RUNS)]
        if metrics == "pooled":
            rows += [(f"{words}, the other clinics invented", invented, runs) for words, _, runs in rows]
        for words, seen, runs in rows:
            both = results(seen, runs)
            kept &= words != "1 run" or all(x >= LEAST if metrics == "own" else x <= MOST for x, _ in both)
            cells = " | ".join(f"{value:.2f} ({error:.2f})" for value, error in both)
            print(f"| `{metrics}` | {words} | {cells} |", flush=True)
        print(f"{metrics}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
