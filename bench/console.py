"""Measure what an open console page costs the hub, and how soon it shows a change: real hub, console and browser.

Usage: .embryofl/venv/bin/python bench/console.py [CLINICS] [SECONDS]. The hub (server, SuperLink, gateway as processes)
has CLINICS clinics (default 50) and a finished run of 100 rounds in its state; the clinics themselves do not run. A
clinic is suspended, with a reason that the page must show, and reinstated; the delay is measured from the call until the
browser shows the reason. The hub's processor time is measured for SECONDS (default 30) each: without a page, with one,
with three, and the same while a clinic is suspended or reinstated every second.
"""

import contextlib
import ssl
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import httpx
import psutil
from cryptography.hazmat.primitives.asymmetric import ec
from playwright.sync_api import Browser, Error, sync_playwright

from embryofl.settings import run_settings
from embryofl_demo.layout import DemoFolder
from embryofl_demo.stack import Stack, free_port
from embryofl_server.members.store import ClinicStore
from embryofl_server.runs.log import Runs
from kits.enrolment import openssh

CHANGES, ROUNDS = 20, 100
PARTS = ("server", "superlink", "gateway")


def fill(hub: Path, names: list[str]) -> None:
    """Write the state of a hub with these clinics and a finished run."""
    store = ClinicStore(hub / "clinics.db")
    for name in names:
        key = openssh(ec.generate_private_key(ec.SECP256R1()))
        counts = {"counts": {"5": {"0": 100, "1": 100}}, "patients": 50}
        store.enrol(name, store.invite(name, 7), key, "quality", counts, "enrolled")
    store.close()
    run = Runs(hub / "runs").create(run_settings({"min_clinics": len(names)}))
    run.set_state("finished", ROUNDS)
    line = {"split": "validation", "day": None, "auroc": 0.8, "auroc_se": 0.02, "loss": 0.5, "n": 40}
    run.add_metrics([{**line, "round": r, "clinic": c} for r in range(ROUNDS) for c in [*names, "pooled"]])


def open_page(browser: Browser, address: str, password: str) -> Any:
    """Open a page in a new session and log in."""
    page = browser.new_context().new_page()
    end = time.monotonic() + 60
    while True:
        with contextlib.suppress(Error):
            page.goto(f"{address}/login")
            break
        if time.monotonic() > end:
            raise SystemExit(f"The console at {address} did not come up within 60 s.")
        time.sleep(0.5)
    page.fill("#password", password)
    page.get_by_role("button").click()
    page.wait_for_selector(".next", timeout=60_000)
    return page


class Changes:
    """Suspends and reinstates a clinic; `going` does so once a second."""

    def __init__(self, stack: Stack) -> None:
        identity = stack.place.hub / "identity"
        token = (identity / "control.token").read_bytes().hex()
        self._http = httpx.Client(
            base_url=f"https://{stack.settings.server_address}",
            headers={"Authorization": f"Bearer {token}"},
            verify=ssl.create_default_context(cafile=str(identity / "internal.crt")),
            trust_env=False,
            timeout=30,
        )

    def __call__(self, what: str, **body: str) -> None:
        self._http.post(f"/control/{what}", json={"name": "clinic-1", **body}).raise_for_status()

    @contextlib.contextmanager
    def going(self) -> Iterator[None]:
        """Make one change a second in the background; at the end the clinic is reinstated."""
        over = threading.Event()

        def work() -> None:
            number = 0
            while not over.wait(1.0):
                number += 1
                if number % 2:
                    self("suspend", reason="bench")
                else:
                    self("resume")
            if number % 2:  # still suspended
                self("resume")

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def delays(page: Any, change: Changes) -> list[float]:
    """Seconds from each call until the page shows the change."""
    seconds = []
    for number in range(CHANGES):
        word = f"bench-{number:04d}"
        began = time.monotonic()
        change("suspend", reason=word)
        page.wait_for_function("word => document.body.textContent.includes(word)", arg=word, timeout=30_000)
        seconds.append(time.monotonic() - began)
        change("resume")
        time.sleep(0.37 * (number % 4))  # each time at another moment of the page's update interval
    return seconds


def cost(stack: Stack, seconds: float) -> dict[str, float]:
    """Processor time of the hub's parts in percent of a core."""
    parts = {name: psutil.Process(stack.supervisor.pids()[name]) for name in PARTS}

    def used() -> dict[str, float]:
        """Processor time with that of child processes, such as Caddy below its script."""
        return {n: sum(sum(q.cpu_times()[:2]) for q in (p, *p.children(recursive=True))) for n, p in parts.items()}

    before, began = used(), time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    return {name: 100 * (now - before[name]) / took for name, now in used().items()}


def main() -> None:
    """Measure and print."""
    count, seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 50, float(sys.argv[2]) if len(sys.argv) > 2 else 30.0
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as cleanup:
        place = DemoFolder(Path(folder) / "demo")
        place.hub.mkdir(parents=True)
        fill(place.hub, [f"clinic-{i}" for i in range(1, count + 1)])
        stack = Stack(place, free_port())
        cleanup.callback(stack.stop)
        stack.start_hub()
        address, password = stack.start_console(0)
        browser = cleanup.enter_context(sync_playwright()).chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        cleanup.callback(browser.close)
        change = Changes(stack)
        none = cost(stack, seconds)
        with change.going():
            none_changing = cost(stack, seconds)
        page = open_page(browser, address, password)
        waits = delays(page, change)
        rows = [("no page", none, none_changing)]
        for name, more in (("one page", 0), ("three pages", 2)):
            for _ in range(more):
                open_page(browser, address, password)
            quiet = cost(stack, seconds)
            with change.going():
                rows.append((name, quiet, cost(stack, seconds)))
        print(f"{count} clinics, a run of {ROUNDS} rounds; load of this machine {psutil.getloadavg()[0]:.1f}")
        print(f"change to page, {len(waits)} times: median {statistics.median(waits):.2f} s, most {max(waits):.2f} s")
        print(
            "processor of the hub, % of a core: " + ", ".join(PARTS) + "; while a state changes each second: the same"
        )
        for name, *both in rows:
            print(f"{name:12}", *("  ".join(f"{load[p]:5.1f}" for p in PARTS) + "   " for load in both))


if __name__ == "__main__":
    main()
