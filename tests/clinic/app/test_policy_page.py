"""The clinic app's page Policy: read, change, look, save; without a script, and behind the app's guard."""

import re

import pytest
from starlette.testclient import TestClient

from embryofl_clinic.policy.rules import FILE, load_rules
from embryofl_clinic.settings import ClinicSettings
from kits.clinic_app import started_app

BASE = "http://127.0.0.1:8088"


@pytest.fixture
def page(tmp_path):
    """A client inside an app; `state`: its state folder."""
    links = []
    app = started_app(ClinicSettings(state_dir=tmp_path, data_dir=tmp_path / "data"), links)
    client = TestClient(app, base_url=BASE, follow_redirects=False)
    client.state = tmp_path
    client.get(links[-1])
    return client


def fields(html):
    """What the page's form would send."""
    given = dict(re.findall(r'<input[^>]* name="(\w+)"[^>]*? value="([^"]*)"', html))
    for name, options in re.findall(r'<select[^>]* name="(\w+)".*?>(.*?)</select>', html, re.S):
        given[name] = re.search(r'value="(\w+)" selected', options)[1]
    return given


def send(page, given, **headers):
    return page.post("/policy", data=given, headers={"Origin": BASE, **headers})


def test_change_is_looked_at_then_saved(page):
    (page.state / FILE).write_text("min_sum = 4\n")
    shown = page.get("/policy").text
    assert (
        "Markdown" not in shown and "Masks only where no sum can have fewer clinics" in shown and "Default: 3." in shown
    )
    given = fields(shown) | {"min_sum": "5", "metrics": "own"}
    review = send(page, given)
    assert review.status_code == 200 and (page.state / FILE).read_text() == "min_sum = 4\n"
    assert "min_sum allows less: no sum with this clinic may have fewer than 5 clinics." in review.text
    assert "metrics allows more" in review.text
    saved = send(page, fields(review.text))
    assert saved.status_code == 303 and "Saved." in page.get(saved.headers["location"]).text
    rules = load_rules(page.state)
    assert (rules.min_sum, rules.metrics) == (5, "own") and rules.model_fields_set == {"min_sum", "metrics"}


@pytest.mark.parametrize(
    "change", [{"min_sum": "2"}, {"min_smu": "5"}, {"seen": "0" * 64, "min_sum": "5"}, {"metrics": "<b>"}]
)
def test_what_cannot_be_saved_is_said_and_changes_nothing(page, change):
    (page.state / FILE).write_text("min_sum = 4\n")
    answer = send(page, fields(page.get("/policy").text) | change | {"save": "yes"})
    assert answer.status_code == 400 and "Nothing was saved" in answer.text and "<b>" not in answer.text
    assert (page.state / FILE).read_text() == "min_sum = 4\n"


def test_file_that_cannot_be_used_is_shown_with_the_reason_and_is_not_replaced(page):
    (page.state / FILE).write_text("min_smu = 4\n")
    shown = page.get("/policy").text
    assert "cannot be used" in shown and "min_smu" in shown and "<form class" not in shown
    assert send(page, {"min_sum": "5", "save": "yes"}).status_code == 400
    assert (page.state / FILE).read_text() == "min_smu = 4\n"


def test_nothing_is_saved_for_another_site_or_without_a_session(page):
    given = {"min_sum": "5", "save": "yes", "seen": ""}
    assert send(page, given, Origin="http://evil.example").status_code == 403
    page.cookies.clear()
    assert send(page, given).status_code == 401
    assert not (page.state / FILE).exists()
