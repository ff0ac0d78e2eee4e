"""What tests of pages share: a browser, the clinic app's command, and what axe-core reports of a page."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")
COMMAND = str(Path(sys.executable).parent / "embryofl-clinic")
PHONE, DESK = {"width": 390, "height": 800}, {"width": 1100, "height": 800}
WAIT_MS = 90_000


@contextlib.contextmanager
def running_app(state: Path, data: Path) -> Iterator[str]:
    """`embryofl-clinic app` on any free port; yields the link that it prints."""
    words = [COMMAND, "app", "--port", "0", "--state", str(state), "--data", str(data)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        assert process.stdout is not None
        yield process.stdout.readline().rsplit(" ", 1)[-1].strip()
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def real_browser() -> Iterator[Any]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def opens(page: Any, address: str) -> bool:
    """Open the address; False if no page is served there."""
    from playwright.sync_api import Error

    try:
        page.goto(address)
    except Error:
        return False
    return True


@contextlib.contextmanager
def browser_page() -> Iterator[Any]:
    """A page of a real browser; `page.wrong` are the errors that its console shows, `page.asked` the hosts it contacts."""
    with real_browser() as browser:
        page = browser.new_page(viewport=DESK)
        page.set_default_timeout(WAIT_MS)
        page.wrong, page.asked = [], set()
        page.on("console", lambda message: page.wrong.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: page.asked.add(request.url.split("/")[2]) if "://" in request.url else None)
        yield page


def enter(page: Any, link: str) -> str:
    """Log in by a link; returns the app's address."""
    base = link.split("/enter")[0]
    page.goto(link)
    page.wait_for_url(f"{base}/")
    return base


def faults(page: Any) -> list[tuple[str, str]]:
    """Serious and critical faults that axe-core finds."""
    from axe_playwright_python.sync_playwright import Axe

    violations = Axe().run(page).response["violations"]
    return [(v["id"], n["html"]) for v in violations if v["impact"] in ("serious", "critical") for n in v["nodes"]]


def assert_accessible(page: Any) -> None:
    """No serious fault in light and dark, no sideways scrolling on a phone, and "Research use only" is shown."""
    assert "Research use only" in page.inner_text("body")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert faults(page) == [], (page.url, scheme)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], page.url
    page.set_viewport_size(DESK)
