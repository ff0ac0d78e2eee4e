"""Run the jobs of the table, several at a time with one thread each; finished jobs are not repeated.

    python bench/quality/run.py --jobs 16 [--real FOLDER] [--only lite0_head] [--minutes 15] [--out FOLDER]
    python bench/quality/run.py --table

Stop it at any time: the next call resumes. See README.md in this folder.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
for service in ("common", "data", "server", "clinic", "datagen", "demo"):  # they need not be installed
    sys.path.append(str(ROOT / "services" / service))
sys.path.insert(0, str(HERE))

import datasets  # noqa: E402
import jobs  # noqa: E402
import plan  # noqa: E402


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="at a time")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--real", type=Path, default=ROOT.parent / "shared" / "data" / "hungvuong")
    parser.add_argument(
        "--only", default="", help="only jobs whose name contains one of these words, separated by commas"
    )
    parser.add_argument("--minutes", type=float, default=0, help="start no job after this time (0: no limit)")
    parser.add_argument("--out", type=Path, default=ROOT / ".embryofl" / "quality")
    parser.add_argument("--list", action="store_true", help="list the jobs to do, and stop")
    parser.add_argument("--table", action="store_true", help="print the tables of the finished jobs, and stop")
    args = parser.parse_args()
    results = args.out / "results"
    results.mkdir(parents=True, exist_ok=True)
    if args.table:
        import report

        print(report.tables(results))
        return 0
    words = [w for w in args.only.split(",") if w]
    wanted = [j for j in plan.jobs() if not words or any(w in j.file for w in words)]
    todo = [j for j in wanted if not (results / j.file).exists()]
    print(f"{len(todo)} of {len(wanted)} jobs to do, about {sum(map(plan.minutes, todo)):.0f} core-minutes", flush=True)
    if args.list or not todo:
        print("\n".join(j.file for j in todo))
        return 0
    return _work(todo, args, results)


def _work(todo: list[jobs.Job], args: argparse.Namespace, results: Path) -> int:
    began, failed = time.monotonic(), 0
    for name in sorted({j.data for j in todo}):
        datasets.prepare(name, args.out / "data" / name, args.real, args.jobs)
    context = multiprocessing.get_context("spawn")
    os.environ["OMP_NUM_THREADS"] = "1"
    with concurrent.futures.ProcessPoolExecutor(args.jobs, mp_context=context) as pool:
        kinds = sorted({(j.data, j.model) for j in todo})
        warm = [(*kind, folder) for kind in kinds for folder in datasets.clinics(args.out / "data" / kind[0]).values()]
        list(pool.map(_warm, warm, [args.out] * len(warm)))
        print(f"data ready after {time.monotonic() - began:.0f} s", flush=True)
        waiting = sorted(todo, key=lambda j: (plan.rank(j), -plan.minutes(j)))
        running: dict[concurrent.futures.Future[dict], jobs.Job] = {}
        while waiting or running:
            late = args.minutes and time.monotonic() - began > 60 * args.minutes
            while waiting and len(running) < args.jobs and not late:
                job = waiting.pop(0)
                running[pool.submit(jobs.run, job, args.out / "data", args.out / "cache", results, args.device)] = job
            if not running:
                break
            done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                job = running.pop(future)
                try:
                    print(f"{time.monotonic() - began:6.0f} s  {job.file}: {future.result()['seconds']} s", flush=True)
                except Exception as exc:  # the others continue
                    failed += 1
                    print(f"{job.file} failed: {type(exc).__name__}: {exc}", flush=True)
        if waiting:
            print(f"{len(waiting)} jobs were not started in {args.minutes:g} minutes", flush=True)
    return 1 if failed else 0


def _warm(what: tuple[str, str, Path], out: Path) -> None:
    """Decode a clinic's images, and compute their embeddings, once."""
    import torch

    from embryofl.settings import run_settings
    from embryofl_demo.local_run import prepared

    torch.set_num_threads(1)
    name, model, folder = what
    settings = run_settings({"model": model})
    prepared(settings, datasets.load(folder, out / "cache" / name, settings.image_size, 0))


if __name__ == "__main__":
    sys.exit(main())
