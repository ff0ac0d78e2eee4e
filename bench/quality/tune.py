"""Choose the default recipe without the patients that the table is about: see README.md.

    python bench/quality/tune.py --jobs 12 --device cuda [--minutes 8] recipes.txt

A line of the file is a recipe: settings with spaces between ("local_epochs=2 learning_rate=6e-4"), or nothing for the
default one. Each is tried federated, pooled and alone, on inner folds of the training patients of each fold of day 5 and
on synthetic clinics of other seeds. Results go to OUT/tune.jsonl, one line a training; `--table` sums them up.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import sys
import time
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import Any

from run import HERE, ROOT  # also makes the packages importable

import datasets
import numpy as np

TAILS, TURNS = (1,), (1, 4)
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
    """Do one training; AUROC of the held-out embryos of each clinic and all, by rounds averaged and turns of the image."""
    import torch

    from embryofl_demo import inprocess
    from embryofl_server.start import check_settings, parse_settings

    torch.set_num_threads(1)
    recipe, data, fold, inner, way = unit
    values = {"model": "lite0", "rounds": 15, "seed": 1000 + 10 * fold + inner} | parse_settings(recipe.split())
    frozen, scale = values.pop("frozen", 6), values.pop("augment", 1.0)
    from embryofl.models.lite_models import Lite0

    Lite0.FROZEN = frozen
    _augmentation(scale)
    folders = datasets.clinics(out / "data" / data)
    values["patience"] = 9_999  # so that every model of the course is seen; never ends it
    settings = check_settings({**values, "min_clinics": len(folders)})
    began = time.monotonic()
    loaded = {
        n: datasets.load(f, out / "cache" / data, settings.image_size, fold, None if inner < 0 else inner)
        for n, f in folders.items()
    }
    clinics = {n: inprocess.LoadedWorkload(settings, d, device) for n, d in loaded.items()}
    _format(clinics.values())
    course: list[np.ndarray] = []

    class Watched(inprocess._Course):
        def add(self, packed: Any, sums: Any) -> None:
            course.append(packed)
            super().add(packed, sums)

    inprocess._Course = Watched  # type: ignore[misc]
    first = inprocess.initial(settings)
    if way == "fed":
        inprocess.federated(clinics, settings, first, lambda _: None)
    elif way == "pooled":
        together = inprocess.LoadedWorkload(settings, inprocess.pooled(list(loaded.values())), device)
        _format([together])
        inprocess.alone(together, "pooled", settings, first)
    else:
        inprocess.alone(clinics[way], way, settings, first)
    at = clinics if way in ("fed", "pooled") else {way: clinics[way]}
    found: dict[str, dict[str, float]] = {}
    for tail in [t for t in TAILS if t <= settings.rounds]:
        packed = averaged(course[-tail:], next(iter(clinics.values())).layout)
        for turns, by_clinic in judged(at, packed, device).items():
            found[f"tail{tail}-turn{turns}"] = by_clinic
    return {"unit": unit, "seconds": round(time.monotonic() - began, 1), "auroc": found}


def _format(clinics: Any) -> None:
    import torch

    from embryofl.models import lite, lite_models

    if not Path("/tmp/format").exists() or Path("/tmp/format").read_text() != "nchw":
        return
    lite_models.lite0_input = lambda x: (lite.as_float(x) * 255 - 127) / 128
    for c in clinics:
        c._model.to(memory_format=torch.contiguous_format)
        c._model._front[0].to(memory_format=torch.contiguous_format)


def _augmentation(scale: float) -> None:
    from embryofl import transforms

    base = transforms.Augmentation
    if scale != 1.0:
        transforms.Augmentation = lambda: base(0.2 * scale, 0.08 * scale, 0.1 * scale, 0.3 * scale, 0.5)  # type: ignore


def averaged(models: list[np.ndarray], layout: Any) -> np.ndarray:
    """Mean of packed models."""
    packed = layout.empty()
    for n, out in enumerate(layout.section_views(packed)):
        out[:] = np.mean([layout.section_views(m)[n].astype(np.float64) for m in models], axis=0)
    return packed


def judged(clinics: Any, packed: np.ndarray, device: str) -> dict[int, dict[str, float]]:
    """AUROC by number of turns, at each clinic and at all."""
    import torch

    from embryofl import task
    from embryofl.views import Views
    from embryofl_demo.intervals import Scored, auroc, stack

    scored: dict[int, dict[str, Scored]] = defaultdict(dict)
    for name, clinic in clinics.items():
        clinic.load(packed)
        side = clinic.data.test
        logits = []
        for turn in range(max(TURNS)):
            def give(x: Any, turn: int = turn) -> Any:
                x = torch.rot90(x, turn % 4, (2, 3))
                return clinic._model(x.flip(3) if turn > 3 else x)

            logits.append(np.concatenate(task._outputs(clinic._model, side, give, torch.device(device), 64)))
        views = Views(side.embryos)
        first = views.first
        for turns in TURNS:
            scored[turns][name] = Scored(
                views.mean(np.mean(logits[:turns], axis=0)), side.labels[first], side.days[first], side.groups[first]
            )
    found = {}
    for turns, by_clinic in scored.items():
        parts = {**by_clinic, "all": stack(list(by_clinic.values()))}
        found[turns] = {n: _auroc(s, auroc) for n, s in parts.items()}
    return found


def _auroc(s: Any, auroc: Any) -> float:
    return round(float(auroc(s, np.ones((1, int(s.patients.max()) + 1)))[0]), 5)


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
                    if count % 20 == 1:
                        print(f"{time.monotonic() - began:.0f} s {count}/{len(todo)} {future.result()['unit']} {future.result()['seconds']}", flush=True)
                except Exception as exc:
                    print(f"failed: {type(exc).__name__}: {exc}", flush=True)
    print(f"{len(waiting)} not begun; {time.monotonic() - began:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
