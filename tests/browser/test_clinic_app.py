"""The clinic's page in a real browser: the real command, a link, a cohort, every page looked at by axe-core."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "clinic"))

from scoring_kit import draw_embryo, finished_model

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium package")
api = pytest.importorskip("playwright.sync_api", reason="needs playwright (requirements-dev.txt)")
COMMAND = str(Path(sys.executable).parent / "embryofl-clinic")
PICTURES = os.environ.get("EMBRYOFL_PICTURES", "")


@pytest.fixture
def link(tmp_path):
    """The link that the running command prints."""
    finished_model(tmp_path / "state" / "models" / "run-0001")
    (tmp_path / "data" / "good").mkdir(parents=True)
    (tmp_path / "data" / "poor").mkdir()
    for number in range(60):
        (tmp_path / "data" / ("good" if number % 2 else "poor") / f"{number}.png").write_bytes(draw_embryo(number))
    words = [COMMAND, "app", "--port", "0", "--state", str(tmp_path / "state"), "--data", str(tmp_path / "data")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        yield process.stdout.readline().rsplit(" ", 1)[-1].strip()
    finally:
        process.terminate()
        process.wait(20)


def faults(page):
    """Serious and critical faults that axe-core finds."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")]


def look(page, name):
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"app-{name}.png", full_page=True)
    assert faults(page) == []
    assert "Research use only" in page.inner_text("body")


def test_a_cohort_is_scored_by_hand_and_every_page_is_accessible(link, tmp_path):
    base = link.split("/enter")[0]
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    for number in range(4):
        (cohort / f"E{number + 1}.png").write_bytes(draw_embryo(number + 20, 256))
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 800})
        wrong = []
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.goto(base)
        assert "link" in page.inner_text("main")
        look(page, "locked")
        wrong.clear()  # the browser itself logs the 401
        page.goto(link)
        page.wait_for_url(f"{base}/")
        look(page, "overview")
        page.get_by_role("link", name="Score a cohort").first.click()
        look(page, "score")
        page.get_by_label("Images of the cohort").set_input_files([str(p) for p in sorted(cohort.iterdir())])
        page.get_by_label("Name of the cohort").fill("Cohort 7")
        page.get_by_role("button", name="Score").click()
        page.wait_for_url("**/scored/2*", timeout=60_000)
        assert page.get_by_text("Rank 1 of 4").count() == 1 and page.locator("img").count() == 8
        look(page, "result")
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        look(page, "result-phone")
        page.set_viewport_size({"width": 1100, "height": 800})
        for name, path in (("records", "/scored"), ("sent", "/sent")):
            page.goto(base + path)
            look(page, name)
        page.goto(base + "/report")
        page.get_by_role("button", name="Look at the folder").click()
        page.get_by_role("heading", name="Findings").wait_for(timeout=90_000)
        look(page, "report")
        assert wrong == []
        browser.close()
