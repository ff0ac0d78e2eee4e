"""Draw the dashboards from a real run: docs/images/dashboard-*.png. Takes about six minutes.

Starts a federation of three synthetic clinics as plain processes, together with Prometheus. During the run a clinic and the
hub are killed and restarted, and another clinic reaches its limit of rounds a day and blocks requests from then on. Then
every panel's query is checked, and Grafana's own components draw the pages.

    python scripts/draw_dashboards.py --grafana-check ../shared/grafana-check [--prometheus PROGRAM] [--keep FOLDER]

With --url it uses a running Prometheus: it checks the queries against a federation in which nothing went wrong, and draws
only with --out. With --empty it starts only a hub, which no clinic has joined, and draws that.

    python scripts/draw_dashboards.py --grafana-check ../shared/grafana-check --url http://localhost:9090 [--out FOLDER]
    python scripts/draw_dashboards.py --grafana-check ../shared/grafana-check --empty --out FOLDER
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from embryofl_clinic.policy.rules import ONE_OWNER
from embryofl_demo.data import prepare
from embryofl_demo.layout import DemoFolder
from embryofl_demo.stack import Stack, free_port

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
NAMES = ["clinic-1", "clinic-2", "clinic-3"]
ROUNDS, LIMIT = 24, 16  # clinic-3 takes part in this many
RUN = {"model": "small_cnn", "rounds": ROUNDS, "local_epochs": 3, "min_clinics": 2, "seed": 1}
MOST_BYTES = 300_000
MAY_BE_EMPTY = [
    "Waiting for",  # after a run
    "Rejected replies by reason",  # for a clinic without a rejected reply
    "Size of the update",  # in a run with masks
]
EMPTY_WHEN_ALL_IS_WELL = [*MAY_BE_EMPTY, "Alerts", "Rejected replies over time", "Rejected replies by clinic"]


@contextlib.contextmanager
def prometheus(command: str, place: DemoFolder) -> Iterator[str]:
    """Run Prometheus with the project's configuration on this federation; yields its address."""
    folder, port = place.root / "monitor", free_port()
    folder.mkdir(exist_ok=True)
    for name, target in (("rules", ROOT / "prometheus/rules"), ("targets", place.targets)):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target.absolute())
    password = str((place.hub / "identity" / "metrics.password").absolute())
    configuration = (ROOT / "prometheus/prometheus.yml").read_text()
    (folder / "prometheus.yml").unlink(missing_ok=True)
    (folder / "prometheus.yml").write_text(configuration.replace("/run/secrets/prometheus-password", password))
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [
                command,
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=error",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def start_clinic(stack: Stack, name: str) -> None:
    """Start a clinic with the policy of a demo's; the last one has a limit of rounds a day."""
    state = stack.place.clinic(name)
    state.mkdir(parents=True, exist_ok=True)
    limit = f"max_rounds_a_day = {LIMIT}\n" if name == NAMES[-1] else ""
    (state / "policy.toml").write_text(ONE_OWNER + limit)
    stack.start_clinic(name)


def round_of(stack: Stack) -> tuple[str, int]:
    """State and complete rounds of the run; the last known ones while the hub is away."""
    with contextlib.suppress(Exception):
        run = stack.call("GET", "/control/status")["run"]
        return run["state"], run["round"]
    return "", 0


def take_part(stack: Stack) -> float:
    """Train the run, with its interruptions; return its start time."""
    began = time.time()
    stack.call("POST", "/control/runs", {"settings": RUN})
    todo = {5: "clinic-2", 10: "server"}
    while True:
        state, done = round_of(stack)
        if state in ("finished", "stopped", "failed"):
            if state != "finished":
                raise SystemExit(f"the run {state}: {stack.call('GET', '/control/status')['run']['reason']}")
            return began
        for number in [n for n in todo if done >= n]:
            name = todo.pop(number)
            print(f"round {done}: {name} is killed", flush=True)
            os.kill(stack.supervisor.pids()[name], signal.SIGKILL)
            if name != "server":  # restarted later, and only then checked by the supervisor again
                threading.Timer(45, start_clinic, (stack, name)).start()
                time.sleep(50)
        stack.supervisor.check()
        time.sleep(0.5)


def check(tool: Path, url: str, since: str, may_be_empty: list[str]) -> int:
    """Check that every panel's query has data. The tool does not know Prometheus annotations, so they are skipped."""
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted((ROOT / "grafana" / "dashboards").glob("*.json")):
            page = json.loads(path.read_text())
            page["annotations"] = {"list": []}
            (Path(folder) / path.name).write_text(json.dumps(page))
        allow = [x for name in may_be_empty for x in ("--allow-empty", name)]
        files = sorted(map(str, Path(folder).glob("*.json")))
        return subprocess.run(
            [
                sys.executable,
                str(tool / "check.py"),
                *files,
                "--prometheus",
                url,
                "--scrape-interval",
                "10s",
                "--datasource-uid",
                "embryofl-prometheus",
                "--from",
                since,
                *allow,
            ],
            check=False,
        ).returncode


def marks(url: str, began: float) -> int:
    """Check that every kind of mark on the curves occurs in this run, which the tool does not check."""
    page = json.loads((ROOT / "grafana" / "dashboards" / "federation.json").read_text())
    without = 0
    for mark in page["annotations"]["list"]:
        query = {
            "query": mark["target"]["expr"],
            "start": began,
            "end": time.time(),
            "step": mark["target"]["interval"],
        }
        with urllib.request.urlopen(f"{url}/api/v1/query_range?{urllib.parse.urlencode(query)}") as response:
            series = json.loads(response.read())["data"]["result"]
        times = {(str(one["metric"]), value) for one in series for _, value in one["values"]}
        print(f"marks for {mark['name']}: {len(times)}", flush=True)
        within = all(began - 600 < float(value) / 1000 < time.time() for _, value in times)
        without += not (times and within)
    return min(without, 1)


def draw(tool: Path, url: str, since: str, out: Path, clinic: str = "") -> int:
    """Draw every page; not 0 if a panel shows an error."""
    worst = 0
    for path in sorted((ROOT / "grafana" / "dashboards").glob("*.json")):
        chosen = ["--vars", f"clinic={clinic}"] if clinic and path.stem == "clinic" else []
        done = subprocess.run(
            [
                sys.executable,
                str(tool / "render.py"),
                str(path),
                "--prometheus",
                url,
                "--scrape-interval",
                "10s",
                "--from",
                since,
                "--out",
                str(out),
                *chosen,
            ],
            check=False,
        )
        worst = max(worst, done.returncode)
    return worst


def keep(out: Path) -> None:
    """Compress the pictures and put them into docs/images."""
    for path in sorted((ROOT / "grafana" / "dashboards").glob("*.json")):
        picture = Image.open(out / f"{path.stem}.png").convert("RGB")
        target = IMAGES / f"dashboard-{path.stem}.png"
        for colours in (256, 128, 64, 32):
            picture.quantize(colours, dither=Image.Dither.NONE).save(target, optimize=True)
            if target.stat().st_size < MOST_BYTES:
                break
        print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1000:.0f} kB", flush=True)


def checked(options: argparse.Namespace) -> int:
    """Check the dashboards on a running Prometheus, and draw them with --out."""
    worst = check(options.grafana_check, options.url, "now-15m", EMPTY_WHEN_ALL_IS_WELL)
    return max(worst, draw(options.grafana_check, options.url, "now-15m", options.out) if options.out else 0)


def empty(options: argparse.Namespace) -> int:
    """Draw a federation without clinics."""
    with contextlib.ExitStack() as cleanup:
        place = DemoFolder(Path(cleanup.enter_context(tempfile.TemporaryDirectory())))
        stack = Stack(place, free_port())
        cleanup.callback(stack.stop)
        stack.start_hub()
        url = cleanup.enter_context(prometheus(options.prometheus, place))
        time.sleep(60)
        # 1 can mean choices without values, which are expected here
        return 0 if draw(options.grafana_check, url, "now-2m", options.out) < 2 else 2


def own_run(options: argparse.Namespace) -> int:
    """Run, check, draw, and put the pictures into docs/images."""
    with contextlib.ExitStack() as cleanup:
        folder = options.keep or Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
        place = DemoFolder(folder.absolute())
        place.root.mkdir(parents=True, exist_ok=True)
        prepare(place, NAMES, None, 250)
        stack = Stack(place, free_port())
        cleanup.callback(stack.stop)
        stack.start_hub()
        for name in NAMES:
            start_clinic(stack, name)
        url = cleanup.enter_context(prometheus(options.prometheus, place))
        print(f"Prometheus: {url}", flush=True)
        stack.wait_enrolled(NAMES)
        time.sleep(20)  # shows the hub before its first run
        began = take_part(stack)
        time.sleep(30)
        since = f"now-{int((time.time() - began) // 60) + 1}m"
        worst = max(check(options.grafana_check, url, since, MAY_BE_EMPTY), marks(url, began))
        worst = max(worst, draw(options.grafana_check, url, since, place.root, NAMES[-1]))
        keep(place.root)
        if options.keep:
            (place.root / "url").write_text(f"{url} {since}\n")
            print("The federation stays up until Ctrl-C.", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
    return worst


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grafana-check", type=Path, required=True, help="folder of check.py and render.py")
    parser.add_argument("--prometheus", default="prometheus", help="the program")
    parser.add_argument("--keep", type=Path, help="put the federation's state here and keep it")
    parser.add_argument("--url", help="of a Prometheus that watches a federation")
    parser.add_argument("--empty", action="store_true", help="draw a federation that no clinic has joined")
    parser.add_argument("--out", type=Path, help="with --url or --empty: draw into this folder")
    options = parser.parse_args()
    if options.empty and not options.out:
        parser.error("--empty needs --out FOLDER")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    if not options.url and shutil.which(options.prometheus) is None:
        parser.error(f"{options.prometheus} was not found. Install Prometheus (Debian: apt-get install prometheus).")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that started processes are stopped
    return (checked if options.url else empty if options.empty else own_run)(options)


if __name__ == "__main__":
    sys.exit(main())
