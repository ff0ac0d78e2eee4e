"""One benchmark run of EmbryoFL as plain processes: start hub, gateway and clinics, train, stop.

usage: run_embryofl.py [ROUNDS]      environment: BENCH_DIR, BENCH_SIZE, BENCH_CLIENTS (default 3)
"""

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import link
import psutil

from embryofl_demo.layout import Place
from embryofl_demo.stack import Stack, free_port

HERE = Path(__file__).parent


def main(rounds: int, clients: int) -> int:
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    initial = Path(os.environ["BENCH_INITIAL"])
    stack = Stack(Place(folder), free_port())
    peaks: dict[str, float] = {}
    try:
        counting = link.count(stack.ports["gateway"])
        stack.start_hub()
        names = [f"clinic-{i + 1:02d}" for i in range(clients)]
        for i, name in enumerate(names):
            stack.start_clinic(name, [sys.executable, str(HERE / "bench_clinic.py"), str(i)])
        stack.wait_enrolled(names)
        if "BENCH_PSS" in os.environ:
            threading.Thread(target=sample_pss, args=(stack, peaks), daemon=True).start()
        before = link.counted() if counting else 0
        settings = {"rounds": rounds, "model": "bench", "min_clinics": clients}
        stack.call("POST", "/control/runs", {"settings": settings, "initial": str(initial)})
        while True:
            stack.supervisor.check()
            run = stack.call("GET", "/control/status")["run"]
            if run["state"] in ("finished", "failed", "stopped"):
                break
            time.sleep(1.0)
        necessary = 2 * rounds * clients * initial.stat().st_size  # each clinic once down, once up, a round
        report = {"state": run["state"], "reason": run["reason"], "cpu_s": cpu_seconds(stack), "necessary": necessary}
        if counting:
            moved = link.counted() - before
            report |= {"link": moved, "link_per_necessary": round(moved / necessary, 4)}
        print(json.dumps({**report, "pss_mib": peaks} if peaks else report))
        if os.environ.get("BENCH_KEEP"):
            shutil.copytree(folder / "logs", os.environ["BENCH_KEEP"], dirs_exist_ok=True)
        return int(run["state"] != "finished")
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)


def sample_pss(stack: Stack, peaks: dict[str, float]) -> None:
    """Keep the highest PSS of each part, MiB, until the parts are gone."""
    while pids := stack.supervisor.pids():
        for name, pid in pids.items():
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except OSError:
                return
            kib = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            peaks[name] = max(peaks.get(name, 0.0), kib / 1024)
        time.sleep(0.5)


def cpu_seconds(stack: Stack) -> dict[str, float]:
    """User and system CPU of each part so far."""
    times = {name: psutil.Process(pid).cpu_times() for name, pid in stack.supervisor.pids().items()}
    return {name: round(t.user + t.system, 2) for name, t in times.items()}


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, int(os.environ.get("BENCH_CLIENTS", 3))))
