"""Choose the default recipe without the test patients of the tables: see README.md.

    python bench/quality/tune.py --jobs 12 --device cuda [--minutes 8] recipes.txt

A line of the file is a recipe: settings with spaces between ("strategy=fedavg rounds=10 local_epochs=2"), or nothing for
the default one. Each is tried federated and pooled (with --alone at each clinic too), on inner folds of the training and
validation patients of each fold of day 5 and on synthetic clinics of other seeds. Results go to OUT/tune.jsonl, a line a
training: its unit, the seconds it took, and the AUROC; finished trainings are not repeated.
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

Unit = tuple[str, str, int, int, str]
"""Recipe, data set, fold, inner fold (-1: none, the synthetic clinics are not those of the table), and "fed", "pooled" or a
clinic that trains alone."""


def units(recipes: list[str], alone: bool) -> list[Unit]:
    """What to train; a clinic alone on synthetic data in one fold only, which saves a third of the time."""
    planned = []
    for recipe in recipes:
        for fold, inner in product(range(3), range(3)):
            ways = ["fed", "pooled", *(f"clinic-{k}" for k in (1, 2, 3) if alone)]
            planned += [(recipe, "day5", fold, inner, way) for way in ways]
        for data, fold in product(datasets.TUNING_SEEDS, range(2)):
            ways = ["fed", "pooled", *(f"clinic-{k}" for k in range(1, 6) if alone and fold == 0)]
            planned += [(recipe, data, fold, -1, way) for way in ways]
    return planned


def train(unit: Unit, out: Path, device: str) -> dict[str, Any]:
    """Train once; AUROC on the test embryos of each clinic and of all."""
    import torch

    from embryofl_demo import local_run
    from embryofl_server.federation.run_settings import check_settings, parse_settings

    torch.set_num_threads(1)
    recipe, data, fold, inner, way = unit
    values = {"model": "lite0", "rounds": 15, "seed": 1000 + 10 * fold + inner} | parse_settings(recipe.split())
    folders = datasets.clinics(out / "data" / data)
    settings = check_settings({**values, "min_clinics": len(folders)})
    began = time.monotonic()
    inside = None if inner < 0 else inner
    loaded = {n: datasets.load(f, out / "cache" / data, settings.image_size, fold, inside) for n, f in folders.items()}
    clinics = {
        n: local_run.LoadedWorkload(settings, local_run.prepared(settings, d), device) for n, d in loaded.items()
    }
    one = {way: clinics[way]} if way in clinics else clinics
    trained = local_run.pooled(clinics, settings) if way == "pooled" else one
    if way != "fed":
        settings = local_run.alone(settings)
    packed = local_run.run_locally(trained, settings, local_run.initial_model(settings)).packed
    return {"unit": unit, "seconds": round(time.monotonic() - began, 1), "auroc": aurocs(one, packed)}


def aurocs(clinics: Any, packed: np.ndarray) -> dict[str, float]:
    """AUROC on the test embryos of each clinic and of all together."""
    from embryofl_demo.intervals import auroc, stack
    from embryofl_demo.local_run import scores_on_test_patients

    scored = scores_on_test_patients(clinics, packed)
    parts = {**scored, "all": stack(list(scored.values()))}
    return {n: round(float(auroc(s, np.ones((1, int(s.patients.max()) + 1)))[0]), 5) for n, s in parts.items()}


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", type=Path)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="at a time")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--minutes", type=float, default=0, help="start no training after this time (0: no limit)")
    parser.add_argument("--alone", action="store_true", help="train each clinic alone as well")
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
    return _work(todo, args, log, began)


def _work(todo: list[Unit], args: argparse.Namespace, log: Path, began: float) -> int:
    os.environ["OMP_NUM_THREADS"] = "1"
    waiting, count, failed = todo[:], 0, 0
    running: dict[concurrent.futures.Future[dict[str, Any]], Unit] = {}
    with concurrent.futures.ProcessPoolExecutor(args.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        while waiting or running:
            late = args.minutes and time.monotonic() - began > 60 * args.minutes
            while waiting and len(running) < args.jobs and not late:
                unit = waiting.pop(0)
                running[pool.submit(train, unit, args.out, args.device)] = unit
            if not running:
                break
            for future in concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED).done:
                unit = running.pop(future)
                try:
                    line = json.dumps(future.result())
                except Exception as exc:  # the others continue
                    failed += 1
                    print(f"{unit} failed: {type(exc).__name__}: {exc}", flush=True)
                    continue
                count += 1
                with log.open("a") as file:
                    file.write(line + "\n")
                print(f"{time.monotonic() - began:6.0f} s  {count} of {len(todo)}", flush=True)
    if waiting:
        print(f"{len(waiting)} trainings were not begun in {args.minutes:g} minutes", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
