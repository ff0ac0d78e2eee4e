"""Measure what more clinics cost the hub in memory: peak memory of server, SuperLink and gateway with few and many clinics.

usage: hub_memory.py [FEW MANY]      (default 3 30)      environment: BENCH_DIR (default ../shared/bench)

The model is the big one of the common workload. The clinics do not train (they send back what they received); the
hub works as usual, for two rounds with each number of clinics.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
MIB = 2**20


def peaks(clients: int, env: dict[str, str]) -> dict[str, float]:
    """Peak resident memory of each part of the hub, MiB."""
    env = {**env, "BENCH_CLIENTS": str(clients), "BENCH_IDLE": "1", "BENCH_MEMORY": "1"}
    command = [sys.executable, str(HERE / "run_embryofl.py"), "2"]
    done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    report = json.loads(done.stdout.splitlines()[-1])
    return {part: report["peak_mib"][part] for part in ("server", "superlink", "gateway")}


def main(few: int, many: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        initial = Path(folder) / "initial.safetensors"
        common = os.environ.get("BENCH_DIR", str(HERE.parents[1] / "shared" / "bench"))
        env = {**os.environ, "BENCH_DIR": common, "BENCH_SIZE": "big", "BENCH_INITIAL": str(initial)}
        env |= {"BENCH_BATCHES": "1", "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, str(HERE / "make_initial.py"), str(initial)], env=env, check=True)
        model = initial.stat().st_size / MIB
        rows = {n: peaks(n, env) for n in (few, many)}
    print(f"{'clinics':>7} {'server':>8} {'superlink':>9} {'gateway':>8} {'hub':>8}   peak, MiB")
    for n, row in rows.items():
        print(f"{n:7d} {row['server']:8.1f} {row['superlink']:9.1f} {row['gateway']:8.1f} {sum(row.values()):8.1f}")
    growth = sum(rows[many].values()) - sum(rows[few].values())
    print(f"growth {growth:.1f} MiB, one model is {model:.1f} MiB")
    return int(growth > model)


if __name__ == "__main__":
    sys.exit(main(*(int(n) for n in sys.argv[1:3])) if len(sys.argv) > 2 else main(3, 30))
