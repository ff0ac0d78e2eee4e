"""The clinic app in a real browser: the real command, its link, a cohort; axe-core checks every page.

The test with a real federation's model: `tests/federation/test_finished_models.py`.
"""

import pytest

from kits.browser import CHROMIUM, assert_accessible, browser_page, enter, running_app
from kits.scoring import draw_embryo, finished_model

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium package")
pytest.importorskip("playwright.sync_api", reason="needs playwright (requirements/dev.in)")

PRESS = """buttons => {
    const stopped = [];
    addEventListener("submit", (event) => { stopped.push(event.defaultPrevented); event.preventDefault(); });
    for (const button of buttons) button ? document.querySelector(button).click() : dispatchEvent(new Event("pageshow"));
    return stopped;
}"""
"""Presses buttons (or, for an empty one, shows the page again) and says of each form whether the page's script has kept it from being sent; none is."""


@pytest.fixture
def data(tmp_path):
    """A folder of 60 drawn embryos in two classes."""
    for number in range(60):
        folder = tmp_path / "data" / ("good" if number % 2 else "poor")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(draw_embryo(number))
    return tmp_path / "data"


@pytest.fixture
def cohort(tmp_path):
    """Four images of embryos, and a truncated fifth."""
    (tmp_path / "cohort").mkdir()
    files = [tmp_path / "cohort" / f"E{number}.png" for number in range(1, 6)]
    for number, file in enumerate(files):
        file.write_bytes(draw_embryo(number + 20, 256)[: 900 if number == 4 else None])
    return [str(file) for file in files]


@pytest.mark.slow
def test_every_page_is_accessible_when_empty_and_with_a_cohort(data, cohort, tmp_path):
    (tmp_path / "state").mkdir()
    with running_app(tmp_path / "state", data) as link, browser_page() as page:
        page.goto(link.split("/enter")[0])
        assert "link" in page.inner_text("main")
        assert page.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") != "none"  # it has its style
        assert_accessible(page)
        assert [w for w in page.wrong if "401" not in w] == []  # the browser itself logs that one
        page.wrong.clear()
        base = enter(page, link)
        for path, words in {
            "/": "No model",
            "/score": "No model",
            "/scored": "No cohort",
            "/sent": "Nothing",
            "/policy": "min_sum",
        }.items():
            page.goto(base + path)
            assert words in page.inner_text("main")
            assert_accessible(page)
        policy, leave = 'form[action="/policy"] button', 'form[action="/leave"] button'
        stopped = page.evaluate(PRESS, [policy, policy, policy, leave, "", policy, policy])
        assert stopped == [False, True, True, False, False, True]  # sent once, and again when the page is shown again
        finished_model(tmp_path / "state" / "models" / "run-0001")  # arrives while the page is open
        page.goto(f"{base}/score")
        page.get_by_label("Images of the cohort").set_input_files(cohort)
        page.get_by_label("Name of the cohort").fill("Cohort 7")
        assert_accessible(page)
        page.get_by_role("button", name="Score").click()
        page.wait_for_url("**/scored/2*")
        assert page.get_by_text("Rank 1 of 4").count() == 1 and page.locator("main img").count() == 8
        assert "truncated" in page.locator(".order tr", has_text="E5.png").inner_text()
        assert_accessible(page)
        page.goto(f"{base}/scored")
        assert_accessible(page)
        page.goto(f"{base}/report")
        assert_accessible(page)
        page.get_by_role("button", name="Check data folder").click()
        page.get_by_role("heading", name="Findings").wait_for()
        assert_accessible(page)
        assert page.wrong == [] and page.asked == {base.removeprefix("http://")}


@pytest.mark.slow
def test_cohort_is_scored_with_the_keyboard_alone(data, cohort, tmp_path):
    finished_model(tmp_path / "state" / "models" / "run-0001")
    with running_app(tmp_path / "state", data) as link, browser_page() as page:
        page.on("filechooser", lambda chooser: chooser.set_files(cohort[:4]))
        base = enter(page, link)

        def tab_to(selector):
            for _ in range(30):
                page.keyboard.press("Tab")
                if page.evaluate("s => document.activeElement.matches(s)", selector):
                    return
            raise AssertionError(f"{selector} cannot be reached by Tab")

        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        tab_to("nav a[href='/score']")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{base}/score")
        tab_to("#images")
        page.keyboard.press("Space")  # opens the browser's file dialogue, which the handler above completes
        page.locator("#chosen", has_text="E4.png").wait_for()
        tab_to("#cohort")
        page.keyboard.type("Cohort 8")
        tab_to("#keep")
        page.keyboard.press("Space")
        tab_to("#go")
        page.keyboard.press("Enter")
        page.wait_for_url("**/scored/2*")
        tab_to(".order a")
        page.keyboard.press("Enter")
        page.wait_for_url("**#embryo-1")
        assert page.get_by_role("heading", name="Cohort 8").count() == 1
