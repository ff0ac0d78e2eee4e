"""The coordinator's day in a real browser, with a real hub and clinics."""

import re
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "federation"))

from federation_kit import SETTINGS, WAIT_S, Federation, clean_environment, draw_clinic, until

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.federation,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here (Debian: apt-get install chromium)"),
]
NAMES = ["clinic-1", "clinic-2"]


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    with clean_environment():
        found = Federation(tmp_path_factory.mktemp("browser") / "demo")
        for name in NAMES:
            draw_clinic(found.place.data(name), name)
        try:
            found.stack.start_hub()
            found.address, found.password = found.stack.start_console(0)
            found.join(NAMES)
            yield found
        finally:
            found.stack.stop()


@pytest.fixture
def page(federation):
    until("the console is up", lambda: "console" in federation.stack.supervisor.pids())
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        found = browser.new_page()
        found.set_default_timeout(WAIT_S * 1000)
        found.asked = set()
        found.on("request", lambda request: found.asked.add(request.url.split("/")[2]))
        until("the console answers", lambda: answers(found, federation.address), pause=0.5)
        found.fill("#password", federation.password)
        found.get_by_role("button", name="Log in").click()
        found.wait_for_selector(".next")
        yield found
        browser.close()


def answers(page, address: str) -> bool:
    try:
        page.goto(f"{address}/login")
    except playwright.Error:
        return False
    return True


def test_invite_watch_a_run_suspend_and_see_why_it_waits(federation, page):
    text = playwright.expect(page.locator("body"))
    text.to_contain_text("No run yet")
    page.get_by_role("tab", name="Clinics").click()
    page.get_by_label("Clinic's name").fill("lisbon")
    page.get_by_role("button", name="Make an invite").click()
    playwright.expect(page.get_by_label("Send this to the clinic")).to_have_value(
        re.compile("EMBRYOFL_INVITE=embryofl1"), timeout=WAIT_S * 1000
    )
    page.get_by_role("tab", name="Now").click()
    federation.start_run(**{**SETTINGS, "rounds": 3, "min_clinics": 2})
    text.to_contain_text("run-0001: finished, round 3 of 3", timeout=WAIT_S * 1000)  # without reloading
    page.get_by_role("tab", name="Clinics").click()
    page.get_by_label("Clinic's name").fill("clinic-2")
    page.get_by_role("button", name="Suspend").click()
    page.get_by_role("tab", name="Now").click()
    playwright.expect(page.locator(".state.suspended")).to_be_visible(timeout=WAIT_S * 1000)
    run = federation.start_run(**{**SETTINGS, "rounds": 3, "min_clinics": 2})
    text.to_contain_text("Waiting for", timeout=WAIT_S * 1000)
    assert page.asked == {federation.address.removeprefix("http://")}  # nothing from elsewhere
    federation.stack.call("POST", "/control/stop", {"run": run})
