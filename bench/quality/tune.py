"""Choose the default recipe without the patients that the table is about: see README.md.

    python bench/quality/tune.py --jobs 12 --device cuda [--minutes 8] recipes.txt

A line of the file is a recipe: settings with spaces between ("local_epochs=2 learning_rate=6e-4"), or nothing for the
default one. Each is tried federated, pooled and alone, on inner folds of the training patients of each fold of day 5 and
on synthetic clinics of other seeds. Results go to OUT/tune.jsonl, a line a training; what is there is not done again.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from run import ROOT  # also makes the packages importable

Unit = tuple[str, str, int, int, str]  # recipe, data, fold, inner fold, way


def units(recipes: list[str], alone: bool) -> list[Unit]:
    """What is to be trained."""
    found = []
    for recipe in recipes:
        for fold, inner in product(range(3), range(3)):
            ways = ["fed", "pooled", *(f"clinic-{k}" for k in (1, 2, 3) if alone)]
            found += [(recipe, "day5", fold, inner, way) for way in ways]
        for data, fold in product(datasets.TUNING_SEEDS, range(2)):
            ways = ["fed", "pooled", *(f"clinic-{k}" for k in range(1, 6) if alone and fold == 0)]
            found += [(recipe, data, fold, -1, way) for way in ways]
    return found


def train(unit: Unit, out: Path, device: str) -> dict[str, Any]:
    """Do one training; AUROC of the held-out embryos of each clinic and of all."""
    import torch

    from embryofl_demo import inprocess
    from embryofl_server.start import check_settings, parse_settings

    torch.set_num_threads(1)
    recipe, data, fold, inner, way = unit
    values = {"model": "lite0", "rounds": 15, "seed": 1000 + 10 * fold + inner} | parse_settings(recipe.split())
    folders = datasets.clinics(out / "data" / data)
    settings = check_settings({**values, "min_clinics": len(folders)})
    began = time.monotonic()
    loaded = {
        n: datasets.load(f, out / "cache" / data, settings.image_size, fold, None if inner < 0 else inner)
        for n, f in folders.items()
    }
    clinics = {n: inprocess.LoadedWorkload(settings, d, device) for n, d in loaded.items()}
    first = inprocess.initial(settings)
    if way == "fed":
        packed = inprocess.federated(clinics, settings, first, lambda _: None).packed
    elif way == "pooled":
        together = inprocess.LoadedWorkload(settings, inprocess.pooled(list(loaded.values())), device)
        packed = inprocess.alone(together, "pooled", settings, first)
    else:
        packed = inprocess.alone(clinics[way], way, settings, first)
    at = clinics if way in ("fed", "pooled") else {way: clinics[way]}
    return {"unit": unit, "seconds": round(time.monotonic() - began, 1), "auroc": judged(at, packed)}


def judged(clinics: Any, packed: np.ndarray) -> dict[str, float]:
    """AUROC at each clinic and at all."""
    from embryofl.views import Views
    from embryofl_demo.intervals import Scored, auroc, stack

    scored: dict[str, Scored] = {}
    for name, clinic in clinics.items():
        clinic.load(packed)
        side = clinic.data.test
        first = Views(side.embryos).first
        scored[name] = Scored(clinic.scores("test"), side.labels[first], side.days[first], side.groups[first])
    parts = {**scored, "all": stack(list(scored.values()))}
    return {n: round(float(auroc(s, np.ones((1, int(s.patients.max()) + 1)))[0]), 5) for n, s in parts.items()}


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--real", type=Path, default=ROOT.parent / "shared" / "data" / "hungvuong")
    parser.add_argument("--out", type=Path, default=ROOT / ".embryofl" / "quality")
    args = parser.parse_args()
    began = time.monotonic()
    for name in ("day5", *datasets.TUNING_SEEDS):
        datasets.prepare(name, args.out / "data" / name, args.real, args.jobs)
    print(f"data after {time.monotonic() - began:.0f} s", flush=True)
    log = args.out / "tune.jsonl"
    done = {tuple(json.loads(line)["unit"]) for line in log.read_text().splitlines()} if log.exists() else set()
    todo = [u for u in units(args.recipes.read_text().splitlines(), args.alone) if u not in done]
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(args.jobs, mp_context=context) as pool:
        waiting, running = todo[:], set()
        count = 0
        while waiting or running:
            late = args.minutes and time.monotonic() - began > 60 * args.minutes
            while waiting and len(running) < args.jobs and not late:
                running.add(pool.submit(train, waiting.pop(0), args.out, args.device))
            if not running:
                break
            finished, running = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in finished:
                try:
                    with log.open("a") as file:
                        file.write(json.dumps(future.result()) + "\n")
                    count += 1
                    print(f"{time.monotonic() - began:.0f} s {count} of {len(todo)}", flush=True)
                except Exception as exc:  # the others go on
                    print(f"failed: {type(exc).__name__}: {exc}", flush=True)
    print(f"{len(waiting)} not begun; {time.monotonic() - began:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
