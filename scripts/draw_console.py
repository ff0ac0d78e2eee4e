"""Draw the console from a real run: docs/images/console-*.png, every page, and the first one at the size of a phone. Takes about two minutes.

Starts a federation of three synthetic clinics as plain processes, with its console. One run is trained to its end, a fourth
clinic is invited, and a second run is photographed while it is under way. All data is synthetic.

    python scripts/draw_console.py [--chromium PROGRAM] [--keep FOLDER]
"""

import argparse
import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from playwright.sync_api import Error, Locator, Page, sync_playwright

from embryofl_demo.data import prepare
from embryofl_demo.layout import DemoFolder
from embryofl_demo.stack import Stack, free_port

IMAGES = Path(__file__).parents[1] / "docs" / "images"
NAMES = ["clinic-1", "clinic-2", "clinic-3"]
RUN = {"model": "small_cnn", "local_epochs": 1, "min_clinics": 3, "seed": 1}
ROUNDS, MIDST = 6, 4  # of the finished run; completed rounds when the second run is photographed
WIDTH, HEIGHT, PHONE = 1200, 900, {"width": 390, "height": 844}
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
    """A federation with a finished run and another one under way: its stack, and the console's address and password."""
    place = DemoFolder(folder)
    prepare(place, NAMES, None, 400)
    stack = Stack(place, free_port())
    try:
        stack.start_hub()
        for name in NAMES:
            stack.start_clinic(name)
        stack.wait_enrolled(NAMES)
        address, password = stack.start_console(0)
        stack.call("POST", "/control/runs", {"settings": {**RUN, "rounds": ROUNDS}})
        until("the run is over", lambda: run_state(stack) == ("finished", ROUNDS))
        stack.call("POST", "/control/invites", {"name": "lisbon"})
        stack.call("POST", "/control/runs", {"settings": {**RUN, "rounds": 100, "seed": 2}})
        until(
            f"the next run has completed {MIDST} rounds",
            lambda: run_state(stack)[1] >= MIDST and run_state(stack)[0] == "running",
        )
        yield stack, address, password
    finally:
        stack.stop()


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


def choose(page: Page, label: str, option: str) -> None:
    """Choose from a drop-down list of the open page."""
    page.get_by_label(label, exact=True).locator("visible=true").first.click()
    page.get_by_role("option", name=option, exact=True).locator("visible=true").click()


def press(page: Page, name: str) -> None:
    """Press a button of the open page."""
    page.get_by_role("button", name=name, exact=True).locator("visible=true").click()


def fill_in(page: Page, tab: str) -> None:
    """Choose what a coordinator would choose on this page."""
    if tab == "Clinics":
        choose(page, "Clinic", NAMES[0])
        page.get_by_text("Latest rounds, newest first").wait_for()
        press(page, "Invite a clinic ▼")
    elif tab == "Results":
        choose(page, "Run", "run-0001")
        page.get_by_role("figure", name="Decision curve").wait_for()
    elif tab == "Hub":
        press(page, "Show")
        press(page, "Verify audit log")
        page.get_by_text("The audit log is intact.").wait_for()


def compare(page: Page) -> None:
    """Compare two runs on the Runs page."""
    page.get_by_role("tab", name="Runs", exact=True).click()
    press(page, "Compare runs ▼")
    for name in ("run-0001", "run-0002"):
        choose(page, "Runs to compare", name)
    page.keyboard.press("Escape")
    table = page.get_by_role("region", name="Settings that differ")
    table.wait_for()
    shoot(page, "compare", table.locator("xpath=ancestor::*[contains(@class, 'prose')][1]"))


def shoot(page: Page, name: str, part: Locator | None = None) -> None:
    """Photograph the open page, or a part of it."""
    time.sleep(2.5)  # the page updates every second
    data = page.screenshot(full_page=True, animations="disabled") if part is None else part.screenshot()
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    if part is not None:
        picture = ImageOps.expand(picture, 24, "white")
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
            tabs = page.get_by_role("tab").all_inner_texts()
            for name in tabs:
                page.get_by_role("tab", name=name, exact=True).click()
                fill_in(page, name)
                shoot(page, name.lower())
            compare(page)
            page.set_viewport_size(PHONE)  # type: ignore[arg-type]
            page.get_by_role("tab", name=tabs[0], exact=True).click()
            shoot(page, "phone")
            browser.close()
        stack.call("POST", "/control/stop")


if __name__ == "__main__":
    main()
