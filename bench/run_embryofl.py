"""One benchmark run of EmbryoFL as plain processes: start hub, gateway and clinics, train, stop.

usage: run_embryofl.py [ROUNDS] [SETTING=VALUE ...]      environment: BENCH_DIR, BENCH_SIZE, BENCH_CLIENTS (default 3)
"""

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import link
import psutil

from embryofl_clinic.policy.rules import ONE_OWNER
from embryofl_demo.layout import DemoFolder
from embryofl_demo.preloaded import CLINIC_MODULES, Preloaded

if TYPE_CHECKING:
    from embryofl_demo.stack import Stack

HERE = Path(__file__).parent


def main(rounds: int, clients: int, more: dict[str, str]) -> int:
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    place = DemoFolder(folder)
    initial = Path(os.environ["BENCH_INITIAL"])
    preloaded = Preloaded(folder, CLINIC_MODULES)
    from embryofl_demo.stack import Stack, free_port  # a second, while the programs are imported

    stack = Stack(place, free_port(), preloaded=preloaded)
    try:
        counting = link.count(stack.ports["gateway"])
        stack.start_hub()
        names = [f"clinic-{i + 1:02d}" for i in range(clients)]
        for i, name in enumerate(names):
            place.clinic(name).mkdir(parents=True)
            (place.clinic(name) / "policy.toml").write_text(ONE_OWNER)
            stack.start_clinic(name, [sys.executable, str(HERE / "bench_clinic.py"), str(i)])
        stack.wait_enrolled(names)
        before = link.counted() if counting else 0
        settings = {"rounds": rounds, "model": "bench", "min_clinics": clients, "closing_evaluation": False, **more}
        stack.call("POST", "/control/runs", {"settings": settings, "initial": str(initial)})
        while True:
            stack.supervisor.check()
            run = stack.call("GET", "/control/status")["run"]
            if run["state"] in ("finished", "failed", "stopped"):
                break
            time.sleep(1.0)
        necessary = 2 * rounds * clients * initial.stat().st_size  # one download and one upload per clinic and round
        report = {"state": run["state"], "reason": run["reason"], "cpu_s": cpu_seconds(stack), "necessary": necessary}
        if counting:
            moved = link.counted() - before
            report |= {"link": moved, "link_per_necessary": round(moved / necessary, 4)}
        if "BENCH_MEMORY" in os.environ:
            report["peak_mib"] = peak_memory(stack)
        print(json.dumps(report))
        if os.environ.get("BENCH_KEEP"):
            shutil.copytree(folder / "logs", os.environ["BENCH_KEEP"], dirs_exist_ok=True)
        return int(run["state"] != "finished")
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)


def peak_memory(stack: "Stack") -> dict[str, float]:
    """Peak resident memory of each part so far, MiB: the kernel's high-water mark."""
    peaks = {}
    for name, pid in stack.supervisor.pids().items():
        (line,) = (x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmHWM:"))
        peaks[name] = int(line.split()[1]) / 1024
    return peaks


def cpu_seconds(stack: "Stack") -> dict[str, float]:
    """Seconds of user and system CPU of each part so far."""
    times = {name: psutil.Process(pid).cpu_times() for name, pid in stack.supervisor.pids().items()}
    return {name: round(t.user + t.system, 2) for name, t in times.items()}


if __name__ == "__main__":
    more = dict(setting.split("=", 1) for setting in sys.argv[2:])
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, int(os.environ.get("BENCH_CLIENTS", "3")), more))
