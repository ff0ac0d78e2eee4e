"""Measure what a scrape costs with many clinics: seconds and memory. Usage: python bench/scrape.py [CLINICS] [ROUNDS]

Writes a run log (three days at each clinic, validation and test), scrapes it over HTTP, also after further rounds, and
times the background work after a round. It prints every number and asserts nothing.
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np

from embryofl.metrics import ScoreSums
from embryofl.settings import RunSettings
from embryofl.wire import Layout
from embryofl_demo.stack import free_port
from embryofl_server.federation.checkpoint import Checkpoints
from embryofl_server.hub import Hub
from embryofl_server.runs import metric_lines
from embryofl_server.settings import HubSettings

CLINICS, ROUNDS = (int(x) for x in [*sys.argv[1:], "100", "20"][:2])
NAMES = [f"clinic-{i:03d}" for i in range(CLINICS)]
SUMMARY = {"counts": {d: {"0": 90, "1": 60, "unlabelled": 9} for d in ("2", "3", "5")}, "patients": 50}
SECONDS = {"download": 0.1, "evaluate": 0.2, "train": 9.0, "loading": 0.5, "upload": 0.2}
LAYOUT = Layout.of({"w": ("F32", (50,))})


def sums(seed: int) -> dict:
    """Scores of 300 embryos on three days."""
    rng = np.random.default_rng(seed)
    return (
        ScoreSums.from_scores(rng.random(300), rng.integers(0, 2, 300), rng.choice([2, 3, 5], 300)).suppress().to_dict()
    )


def memory() -> float:
    """Resident memory of this process now, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    """Write a run log, scrape its metrics, and print the costs."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "hub"
        port = free_port()
        hub = Hub(HubSettings(state_dir=state, superlink_address="127.0.0.1:9", metrics_port=port))
        hub.presence.poll = lambda: dict.fromkeys(NAMES, True)
        for name in NAMES:
            hub.store.enrol(name, hub.store.invite(name, 1.0), f"key of {name}", "quality", SUMMARY)
        run = hub.runs.create(RunSettings(rounds=10_000, min_clinics=2))
        checkpoints = Checkpoints(run.folder, state / "weights" / run.name, 3)
        packed = np.asarray(LAYOUT.empty())
        checkpoints.save(0, packed, {"clinics": {}})
        lines: list[dict] = []

        def add(number: int) -> None:
            clinics = {
                n: {
                    "examples": 200,
                    "train_loss": 0.6,
                    "norm": 1.0,
                    "distance": 0.5,
                    "device": "cpu",
                    "memory_bytes": 5,
                    "reconnects": 0,
                    "seconds": SECONDS,
                    "validation": sums(i + number),
                }
                for i, n in enumerate(NAMES)
            }
            record = {"clinics": clinics, "refused": {}, "began": 0.0, "seconds": {"clinics": 5.0}}
            checkpoints.save(number, packed, record)
            lines.extend(metric_lines.record_lines({**record, "round": number}))
            run.event("round", round=number, accepted=NAMES, refused={}, seconds=9.0)
            run.rewrite_metrics(lines)
            run.set_state("running", number)

        for number in range(1, ROUNDS + 1):
            add(number)
        size = (run.folder / "metrics.jsonl").stat().st_size / 1e6
        before = memory()
        exporter = hub.exporter
        exporter.start()

        def scrape(what: str) -> None:
            time.sleep(5)  # about a scrape interval: the part from the run log is refreshed meanwhile
            began, worked = time.perf_counter(), time.process_time()
            password = (state / "identity" / "metrics.password").read_text()
            text = httpx.get(f"http://127.0.0.1:{port}/metrics", auth=("embryofl", password)).raise_for_status().content
            taken, worked = time.perf_counter() - began, time.process_time() - worked
            samples = sum(not x.startswith(b"#") for x in text.splitlines())
            print(
                f"{what:28} {taken * 1000:6.0f} ms ({worked * 1000:.0f} ms of processor)   {samples} samples, "
                f"{len(text) / 1e6:.1f} MB of text; +{memory() - before:.0f} MB of memory"
            )

        print(f"{CLINICS} clinics, {ROUNDS} rounds, metrics.jsonl {size:.1f} MB")
        scrape("first scrape")
        for _ in range(3):
            scrape("next scrape")
        for number in range(ROUNDS + 1, ROUNDS + 4):
            add(number)
            scrape("scrape after a round")
        (run.folder / "model.json").write_text(
            json.dumps({"evaluation": {n: {"validation": sums(i), "test": sums(i + 7)} for i, n in enumerate(NAMES)}})
        )
        final = {"round": ROUNDS + 3, **json.loads((run.folder / "model.json").read_text())}
        run.rewrite_metrics([*lines, *metric_lines.final_lines(final)])
        run.event("finished", round=ROUNDS + 3, sha256="")
        run.set_state("finished", ROUNDS + 3)
        scrape("scrape after the run's end")
        for _ in range(2):
            scrape("next scrape")
        exporter.close()
        run.set_state("finished", ROUNDS + 3, "again")
        began = time.perf_counter()
        exporter.refresh()
        print(f"in the background, once for each change: {(time.perf_counter() - began) * 1000:.0f} ms")


if __name__ == "__main__":
    main()
