"""Draw the console from a real run: docs/images/console-*.png, every page, the first one in dark and on a phone, and states:
a new hub, an error, a hub that does not respond. Takes about two minutes.

Starts a federation of three synthetic clinics as plain processes, with its console. One run is trained to its end, a fourth
clinic is invited, and a second run is photographed while it is under way. All data is synthetic.

    python scripts/draw_console.py [--chromium PROGRAM] [--keep FOLDER]
"""

import argparse
import contextlib
import io
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Error, Page, sync_playwright

from embryofl_demo.data import allow_metrics, prepare
from embryofl_demo.layout import DemoFolder
from embryofl_demo.stack import Stack, free_port

IMAGES = Path(__file__).parents[1] / "docs" / "images"
NAMES = ["clinic-1", "clinic-2", "clinic-3"]
RUN = {"model": "small_cnn", "local_epochs": 1, "min_clinics": 3, "seed": 1}
ROUNDS, MIDST = 6, 4  # of the finished run; completed rounds when the second run is photographed
WIDTH, HEIGHT, PHONE = 1280, 900, {"width": 390, "height": 844}
PATIENCE_S = 300


def until(what: str, ready: Callable[[], Any]) -> Any:
    """Wait until `ready()` is true and return it."""
    end = time.monotonic() + PATIENCE_S
    while not (result := ready()):
        if time.monotonic() > end:
            raise SystemExit(f"Not within {PATIENCE_S} s: {what}")
        time.sleep(0.3)
    return result


def run_state(stack: Stack) -> tuple[str, int]:
    """State and complete rounds of the newest run."""
    stack.supervisor.check()
    run = stack.call("GET", "/control/status")["run"]
    return run["state"], run["round"]


@contextlib.contextmanager
def federation(folder: Path) -> Iterator[tuple[Stack, str, str]]:
    """A hub that no clinic has joined: its stack, and the console's address and password."""
    place = DemoFolder(folder)
    prepare(place, NAMES, None, 250)
    stack = Stack(place, free_port())
    try:
        stack.start_hub()
        yield stack, *stack.start_console(0)
    finally:
        stack.stop()


def work(stack: Stack) -> None:
    """Have clinics join, a run come to its end and another one get under way."""
    for name in NAMES:
        allow_metrics(stack.place.clinic(name))
        stack.start_clinic(name)
    stack.wait_enrolled(NAMES)
    stack.call("POST", "/control/runs", {"settings": {**RUN, "rounds": ROUNDS}})
    until("the run is over", lambda: run_state(stack) == ("finished", ROUNDS))
    stack.call("POST", "/control/runs/run-0001/note", {"note": "The first run of all three clinics."})
    stack.call("POST", "/control/invites", {"name": "lisbon"})
    stack.call("POST", "/control/runs", {"settings": {**RUN, "rounds": 100, "seed": 2}})
    until(
        f"the next run has completed {MIDST} rounds",
        lambda: run_state(stack)[1] >= MIDST and run_state(stack)[0] == "running",
    )


def log_in(page: Page, address: str, password: str) -> None:
    """Open the console."""

    def opened() -> bool:
        with contextlib.suppress(Error):
            page.goto(f"{address}/login")
            return True
        return False

    until("the console replies", opened)
    page.fill("#password", password)
    page.get_by_role("button").click()
    page.wait_for_selector(".next")


def picture_pages(page: Page) -> None:
    """Photograph every page as a coordinator would see it at work."""
    for name in ("Overview", "Clinics"):
        go(page, name)
        shoot(page, name.lower())
    page.get_by_role("link", name=NAMES[0]).first.click()
    page.get_by_text("Latest rounds, newest first").wait_for()
    shoot(page, "clinic")
    go(page, "Runs")
    page.get_by_role("button", name="Update estimate").click()
    page.get_by_text("per round").first.wait_for()
    shoot(page, "runs")
    for name in ("run-0001", "run-0002"):
        page.get_by_label(f"Compare {name}").check()
    page.get_by_role("button", name="Compare runs").click()
    page.get_by_role("region", name="Settings that differ").wait_for()
    shoot(page, "compare")
    go(page, "Results")
    page.get_by_role("figure", name="Decision curve").wait_for()
    shoot(page, "results")
    go(page, "Hub")
    page.get_by_role("button", name="Verify audit log").click()
    page.get_by_text("The audit log is intact.").wait_for()
    shoot(page, "hub")


def picture_states(page: Page, stack: Stack) -> None:
    """Photograph what a page says of an error, and of a hub that does not respond."""
    go(page, "Runs")
    page.locator("summary", has_text="More settings").click()
    page.get_by_label("One per line, name=value").fill("lerning_rate=0.001")
    page.get_by_role("button", name="Update estimate").click()
    page.locator(".trouble").wait_for()
    shoot(page, "error")
    go(page, "Overview")
    stack.call("POST", "/control/stop")
    os.kill(stack.supervisor.pids()["server"], signal.SIGKILL)
    page.locator(".trouble").wait_for()
    shoot(page, "away")


def go(page: Page, name: str) -> None:
    """Open one of the console's pages."""
    page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()


def shoot(page: Page, name: str) -> None:
    """Photograph the open page."""
    time.sleep(1.5)  # the page updates twice a second
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True, animations="disabled"))).convert("RGB")
    out = IMAGES / f"console-{name}.png"
    picture.quantize(256).save(out, optimize=True)
    print(f"{out}: {picture.width}x{picture.height}, {out.stat().st_size / 1e3:.0f} kB")


def main() -> None:
    """Draw the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    parser.add_argument("--keep", type=Path, help="Keep the federation's state there.")
    given = parser.parse_args()
    if not given.chromium:
        sys.exit(
            "There is no chromium here. Install it (Debian: apt-get install chromium), or name one with --chromium."
        )
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as temporary, federation(given.keep or Path(temporary) / "demo") as started:
        stack, address, password = started
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=given.chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, reduced_motion="reduce")
            log_in(page, address, password)
            shoot(page, "empty")
            work(stack)
            picture_pages(page)
            page.emulate_media(color_scheme="dark")
            go(page, "Overview")
            shoot(page, "dark")
            page.emulate_media(color_scheme="light")
            page.set_viewport_size(PHONE)  # type: ignore[arg-type]
            shoot(page, "phone")
            page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
            picture_states(page, stack)
            browser.close()


if __name__ == "__main__":
    main()
