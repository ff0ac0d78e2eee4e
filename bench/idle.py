"""What idle clinics ask of a hub, and what that costs: requests a second, and CPU of each part.

usage: idle.py [CLINICS] [SECONDS]      environment: BENCH_DIR
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from run_embryofl import HERE, cpu_seconds

from embryofl_demo.layout import DemoFolder
from embryofl_demo.preloaded import CLINIC_MODULES, Preloaded
from embryofl_demo.stack import Stack, free_port

SETTLED_S = 30.0  # from the last clinic's joining until nothing is left to do


def main(clinics: int, seconds: float) -> None:
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    os.environ["BENCH_REQUESTS"] = str(folder / "requests")
    place = DemoFolder(folder)
    stack = Stack(place, free_port(), preloaded=Preloaded(folder, CLINIC_MODULES))
    try:
        stack.start_hub()
        names = [f"clinic-{i + 1:02d}" for i in range(clinics)]
        for i, name in enumerate(names):
            place.clinic(name).mkdir(parents=True)
            stack.start_clinic(name, [sys.executable, str(HERE / "bench_clinic.py"), str(i)])
        stack.wait_enrolled(names)
        time.sleep(SETTLED_S)
        before, made = cpu_seconds(stack), requests(folder)
        time.sleep(seconds)
        after, new = cpu_seconds(stack), requests(folder)[len(made) :]
        for path in sorted({*new}):
            print(f"{path}: {new.count(path) / clinics / seconds:.3f} a second and clinic")
        print(f"all: {len(new) / clinics / seconds:.3f} a second and clinic")
        for part in after:
            print(f"{part}: {1000 * (after[part] - before[part]) / seconds:.1f} ms of CPU a second")
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)


def requests(folder: Path) -> list[str]:
    """The paths that the clinics have asked for so far."""
    return (folder / "requests").read_text().splitlines()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3, float(sys.argv[2]) if len(sys.argv) > 2 else 60.0)
