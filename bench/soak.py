"""Run many short rounds and check that nothing grows: memory, open files, database, disk.

usage: soak.py [ROUNDS] [CLINICS]      defaults: 200 rounds, 5 clinics

Hub, gateway and clinics as plain processes on small synthetic images. Every few rounds each process is sampled, and the
metrics are scraped as Prometheus would. Growth is measured after the first quarter of the rounds, because caches
fill until then. Bounds over the rest of the run:

    memory      BOUND_MB of resident memory for each process
    open files  BOUND_FILES for each process
    database    BOUND_DATABASE_KB more; its write-ahead log never above BOUND_WAL_KB (SQLite cuts it back at 1000 pages)
    disk        BOUND_DISK_KB a round for the run's records, metrics, events and audit lines
    weights     never more than BOUND_MODELS files: the first, the best, the newest three

Prints a table. Ends with 0 if all bounds held; otherwise prints those exceeded and ends with 1.
"""

import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
from PIL import Image

from embryofl_clinic.policy.rules import ONE_OWNER
from embryofl_demo.layout import DemoFolder
from embryofl_demo.stack import Stack, free_port

BOUND_MB, BOUND_FILES, BOUND_DATABASE_KB, BOUND_WAL_KB, BOUND_DISK_KB, BOUND_MODELS = 24.0, 5, 256.0, 4300.0, 60.0, 5
SETTINGS = {"model": "small_cnn", "image_size": 32, "local_epochs": 1, "batch_size": 32, "seed": 1}
SAMPLES = 20


@dataclass(frozen=True)
class Sample:
    """Measurements after a round: megabytes and open files per process, and sizes on disk in kilobytes."""

    round: int
    at: float
    memory: dict[str, float]
    files: dict[str, int]
    database: float
    wal: float
    disk: float
    models: int


def draw(folder: Path, seed: int, images: int = 60) -> None:
    """Draw a clinic's folder of noise, brighter for label 1."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    lines = ["image,label,patient,day"]
    for i in range(images):
        pixels = rng.integers(0, 160, (32, 32, 3), dtype=np.uint8) + np.uint8(70 * (i % 2))
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        lines.append(f"images/{i}.png,{i % 2},p{i // 2},5")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


def size_of(folder: Path) -> float:
    """Kilobytes of all files below a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e3


def take_sample(stack: Stack, round_: int) -> Sample:
    """Sample every process and file."""
    password = (stack.place.hub / "identity" / "metrics.password").read_text()
    httpx.get(f"http://127.0.0.1:{stack.ports['metrics']}/metrics", auth=("embryofl", password)).raise_for_status()
    hub = stack.place.hub
    memory, files = {}, {}
    for name, pid in stack.supervisor.pids().items():
        process = psutil.Process(pid)
        memory[name], files[name] = process.memory_info().rss / 1e6, process.num_fds()
    database, wal = ((hub / name).stat().st_size / 1e3 for name in ("clinics.db", "clinics.db-wal"))
    disk = hub.joinpath("audit.jsonl").stat().st_size / 1e3 + size_of(hub / "runs")
    disk -= sum(p.stat().st_size for p in hub.glob("runs/*/model.*")) / 1e3
    models = sum(1 for _ in hub.glob("weights/*/*.safetensors"))
    return Sample(round_, time.monotonic(), memory, files, database, wal, disk, models)


def soak(rounds: int, clinics: int) -> list[Sample]:
    """Run to the end and take samples on the way."""
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    stack = Stack(DemoFolder(folder), free_port())
    names, samples = [f"clinic-{i + 1}" for i in range(clinics)], []
    try:
        for i, name in enumerate(names):
            draw(stack.place.data(name), i)
        stack.start_hub()
        for name in names:
            stack.place.clinic(name).mkdir(parents=True)
            (stack.place.clinic(name) / "policy.toml").write_text(ONE_OWNER)
            stack.start_clinic(name)
        stack.wait_enrolled(names)
        settings = {**SETTINGS, "rounds": rounds, "min_clinics": clinics}
        stack.call("POST", "/control/runs", {"settings": settings})
        done = 0
        while True:
            stack.supervisor.check()
            run = stack.call("GET", "/control/status?metrics=newest")["run"]
            if run["round"] >= done + max(1, rounds // SAMPLES) or run["round"] == rounds > done:
                done = run["round"]
                samples.append(take_sample(stack, done))
                print(f"round {done}: server {samples[-1].memory['server']:.0f} MB", flush=True)
            if run["state"] in ("finished", "failed", "stopped"):
                if run["state"] != "finished":
                    raise SystemExit(f"the run {run['state']}: {run['reason']}")
                return samples
            time.sleep(0.5)
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)


def growth(values: list[float]) -> float:
    """Difference between the medians of the last and of the first third, which ignores single peaks."""
    third = max(1, len(values) // 3)
    return statistics.median(values[-third:]) - statistics.median(values[:third])


def judge(samples: list[Sample], clinics: int) -> list[str]:
    """Print the table; returns what exceeded its bound."""
    settled = [s for s in samples if s.round > samples[-1].round // 4]
    rounds = settled[-1].round - settled[0].round
    seconds = settled[-1].at - settled[0].at
    print(f"\n{samples[-1].round} rounds, {clinics} clinics, {seconds / rounds:.2f} s a round")
    print(f"{'process':12} {'MB at first':>12} {'at last':>8} {'growth':>8}   {'files at first':>14} {'at last':>8}")
    broken = []
    for name in settled[0].memory:
        memory, files = [s.memory[name] for s in settled], [float(s.files[name]) for s in settled]
        more, more_files = growth(memory), growth(files)
        print(f"{name:12} {memory[0]:12.1f} {memory[-1]:8.1f} {more:8.1f}   {files[0]:14.0f} {files[-1]:8.0f}")
        if more > BOUND_MB:
            broken.append(f"{name}: {more:.1f} MB more, the bound is {BOUND_MB}")
        if more_files > BOUND_FILES:
            broken.append(f"{name}: {more_files:.0f} open files more, the bound is {BOUND_FILES}")
    database = settled[-1].database - settled[0].database
    disk = (settled[-1].disk - settled[0].disk) / rounds
    wal, models = max(s.wal for s in samples), max(s.models for s in samples)
    print(
        f"database {database:+.1f} KB, its log at most {wal:.0f} KB; records and logs {disk:.1f} KB a round; "
        f"at most {models} models"
    )
    for what, value, bound in (
        ("KB of database more", database, BOUND_DATABASE_KB),
        ("KB of its write-ahead log", wal, BOUND_WAL_KB),
        ("KB of records a round", disk, BOUND_DISK_KB),
        ("models", models, BOUND_MODELS),
    ):
        if value > bound:
            broken.append(f"{value:.1f} {what}, the bound is {bound}")
    return broken


def main(rounds: int, clinics: int) -> int:
    """Run, print the table, and compare it with the bounds."""
    broken = judge(soak(rounds, clinics), clinics)
    print("\n".join(broken) or "All bounds held.")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main(*(int(a) for a in (sys.argv[1:3] + ["200", "5"][len(sys.argv[1:3]) :]))))
