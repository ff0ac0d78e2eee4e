"""A coordinator's day in a real browser, with a real hub and clinics: the pages do what they offer."""

import hashlib
import json
import os
import sys
from pathlib import Path

import httpx
import pytest

from kits.browser import CHROMIUM, opens, real_browser
from kits.federation import WAIT_S, Federation, clean_environment, draw_clinic, until
from kits.policy import write_policy

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium package"),
]
NAMES = ["clinic-1", "clinic-2"]
HEADINGS = """() => { window.seen = []; new MutationObserver(() => {
  for (const h of document.querySelectorAll("h2")) if (!seen.includes(h.textContent)) seen.push(h.textContent);
}).observe(document.body, {subtree: true, childList: true, characterData: true}); }"""


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    with clean_environment():
        os.environ["EMBRYOFL_APPROVAL"] = "manual"
        federation = Federation(tmp_path_factory.mktemp("browser") / "demo")
        for name in [*NAMES, "lisbon"]:
            draw_clinic(federation.place.data(name), name, patients=48, disc=6.0)
        try:
            federation.stack.start_hub()
            federation.address, federation.password = federation.stack.start_console(0)
            for name in NAMES:
                federation.stack.start_clinic(name)
            until("both ask to join", lambda: set(NAMES) <= set(federation.status()["to_approve"]), pause=0.3)
            for name in NAMES:
                federation.stack.call("POST", "/control/approve", {"name": name})
            federation.stack.wait_enrolled(NAMES, WAIT_S)
            yield federation
        finally:
            federation.stack.stop()


class Desk:
    """A coordinator at the browser."""

    def __init__(self, federation, page):
        self.federation, self.page = federation, page
        self.text = page.locator("body")

    def open(self, name):
        self.page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
        self.page.wait_for_load_state()

    def open_clinic(self, name):
        self.open("Clinics")
        self.page.get_by_role("link", name=name, exact=True).first.click()
        self.page.get_by_role("heading", name=name).wait_for()

    def unfold(self, name):
        self.page.locator("summary", has_text=name).click()

    def press(self, name, where=None):
        (where or self.page).get_by_role("button", name=name, exact=True).locator("visible=true").click()

    def fill(self, label, value):
        self.page.get_by_label(label).locator("visible=true").first.fill(value)

    def choose(self, label, option):
        """In a drop-down list."""
        self.page.get_by_label(label, exact=True).select_option(option)

    def sees(self, words, where=None):
        """Wait until the words are shown, while the supervisor looks after the processes."""

        def shown():
            self.federation.stack.supervisor.check()
            return words in (where or self.text).inner_text()

        until(f"{words!r} is shown", shown, pause=0.2)


@pytest.fixture(scope="module")
def desk(federation):
    with real_browser() as browser:
        page = browser.new_page()
        page.set_default_timeout(WAIT_S * 1000)
        page.asked = set()
        page.on("request", lambda request: page.asked.add(request.url.split("/")[2]))
        until("the console replies", lambda: opens(page, f"{federation.address}/login"), pause=0.5)
        page.fill("#password", federation.password)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_selector(".next")
        yield Desk(federation, page)


def test_clinic_joins_with_the_command_shown_on_the_page(federation, desk):
    desk.sees("No runs yet")
    desk.open("Clinics")
    desk.press("Invite a clinic")
    desk.fill("Clinic name", "lisbon")
    desk.press("Create invite")
    desk.sees("With Docker")
    assert "docker run" in desk.page.get_by_role("region", name="With Docker").inner_text()
    line = desk.page.get_by_role("region", name="Without containers").inner_text()
    desk.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    desk.page.locator('[data-copy="line-pip"]').click()
    desk.sees("Copied")
    assert desk.page.evaluate("navigator.clipboard.readText()") == line
    desk.sees("Open invites")
    line = line.replace("/PATH/TO/IMAGES", str(federation.place.data("lisbon")))
    line = line.replace("--state embryofl-state", f"--state {federation.place.clinic('lisbon')}")
    env = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "EMBRYOFL_THREADS": "1"}
    code = desk.page.get_by_role("region", name="Invite code").inner_text()
    federation.stack.supervisor.start("lisbon", ["bash", "-c", f"exec {line} <<<{code}"], env, optional=True)
    roster = desk.page.get_by_role("region", name="Clinics", exact=True)
    desk.sees("lisbon", roster)
    desk.sees("No open invites.")
    desk.sees("Clinics awaiting approval")  # shown only while there is one
    desk.press("Approve")
    desk.sees("Done.")
    playwright.expect(desk.page.get_by_role("button", name="Approve")).not_to_be_visible(timeout=WAIT_S * 1000)
    until("lisbon is enrolled", lambda: "lisbon" in federation.status()["clinics"])
    write_policy(federation.place.clinic("lisbon"))  # its metrics are to be seen, and no keys to be compared
    desk.open_clinic("lisbon")
    desk.sees("Images by day and label")
    desk.sees("This clinic has not taken part in a round yet.")


def test_run_is_started_and_followed_to_its_end(federation, desk):
    desk.open("Runs")
    desk.choose("Model", "small_cnn")
    desk.sees("A small network trained from scratch.")
    desk.sees("No runs yet. Start one below.")
    assert not desk.page.get_by_role("button", name="Pause run", exact=True).is_visible()  # there is no run to pause
    desk.fill("Rounds", "3")
    desk.fill("Local epochs", "8")  # a round then outlasts the second after which a page looks again
    desk.unfold("More settings")
    desk.fill("One per line, name=value", "image_size=48\nbatch_size=16\nlerning_rate=1")
    desk.press("Update estimate")
    desk.sees("There is no setting lerning_rate; did you mean learning_rate?")
    desk.fill("One per line, name=value", "image_size=48\nbatch_size=16\nlearning_rate=0.003")
    desk.press("Update estimate")
    desk.sees("This is a rough estimate")
    desk.sees("for each of 3 clinics")
    desk.press("Start run")
    desk.sees("run-0001 is queued")
    desk.open("Overview")
    desk.page.evaluate(HEADINGS)
    desk.sees("run-0001: finished, round 3 of 3")
    seen = desk.page.evaluate("window.seen")  # by one page that was never reloaded
    assert [r for r in (1, 2, 3) if any(f"run-0001: running, round {r} of 3" in h for h in seen)] == [1, 2, 3], seen
    figure = desk.page.locator("figure.chart > svg").first
    assert "round 3" in figure.get_attribute("aria-label")


def test_hub_waits_for_a_stopped_clinic_by_name_and_the_clinic_returns(federation, desk):
    desk.open("Clinics")
    tests = desk.page.get_by_role("region", name="Test clinics on this machine")
    desk.press("Stop", tests.get_by_role("row", name="lisbon"))
    desk.sees("The clinic is stopping")
    desk.open("Runs")
    desk.choose("Model", "small_cnn")
    desk.fill("Rounds", "3")
    desk.fill("Local epochs", "8")
    desk.unfold("More settings")
    desk.fill("One per line, name=value", "image_size=48\nbatch_size=16\nlearning_rate=0.003")
    desk.press("Start run")
    desk.sees("run-0002 is queued")
    desk.open("Overview")
    desk.sees("Check that these clinics are running and connected: lisbon")
    desk.sees("Waiting for lisbon")
    assert federation.stack.supervisor.optional_states()["lisbon"] == "stopped"  # not treated as a crash
    desk.open("Clinics")
    desk.press("Start", tests.get_by_role("row", name="lisbon"))
    desk.sees("The clinic is starting")
    desk.open("Overview")
    desk.sees("run-0002: running, round 1 of 3")
    desk.open("Runs")
    desk.press("Stop run")
    desk.fill('Type "stop" to confirm', "stop")
    desk.press("Stop run", desk.page.get_by_role("dialog"))
    desk.sees("The run is stopping. The model of its last complete round is kept.")
    federation.wait_over("run-0002")


def test_suspended_clinic_is_shown_and_the_others_train_without_it(federation, desk):
    desk.open_clinic("clinic-2")
    desk.press("Suspend")
    desk.fill("Reason (sent to the clinic)", "its labels are under review")
    desk.press("Suspend", desk.page.get_by_role("dialog"))
    desk.open("Overview")
    desk.sees("its labels are under review", desk.page.get_by_role("region", name="Clinics", exact=True))
    desk.open("Runs")
    desk.choose("Model", "small_cnn")
    desk.fill("Rounds", "1")
    desk.unfold("More settings")
    desk.fill("One per line, name=value", "image_size=48\nbatch_size=16\nlearning_rate=0.003")
    desk.press("Update estimate")
    desk.sees("for each of 2 clinics")
    desk.sees("as measured in run-000")  # the second run only if it completed a round before it was stopped
    desk.press("Start run")
    desk.open("Overview")
    desk.sees("run-0003: finished, round 1 of 1")
    assert set(federation.records("run-0003")[1]["clinics"]) == {"clinic-1", "lisbon"}
    desk.open_clinic("clinic-2")
    desk.press("Reinstate")
    desk.sees("Done.")


def test_results_show_what_the_server_computed_and_can_be_downloaded(federation, desk):
    desk.open("Results")
    desk.choose("Run", "run-0001")
    folder = federation.folder("run-0001")
    pooled = json.loads((folder / "results.json").read_text())["splits"]["test"]["pooled"]["all"]
    low, high = pooled["auroc"]["interval"]
    desk.sees(f"{pooled['auroc']['value']:.3f} ({low:.2f} to {high:.2f})")
    for title in (
        "ROC curve",
        "Decision curve",
        "Calibration: observed share of label 1 by score",
        "chosen on validation",
    ):
        desk.sees(title)
    desk.unfold("Model card")
    card = desk.page.frame_locator("iframe.card")
    playwright.expect(card.locator("body")).to_contain_text("Research use only", timeout=WAIT_S * 1000)
    for name in ("model-card.html", "results.json", "model.safetensors"):
        with desk.page.expect_download() as download:
            desk.page.get_by_role("link", name=name, exact=True).click()
        assert download.value.suggested_filename == f"run-0001-{name}"
        content = Path(download.value.path()).read_bytes()
        assert hashlib.sha256(content).digest() == hashlib.sha256((folder / name).read_bytes()).digest()


def test_downloads_require_a_login_and_never_open_as_a_page(federation, desk):
    url = f"{federation.address}/download/run-0001"
    response = desk.page.request.get(f"{url}/model-card.html")
    assert response.headers["content-disposition"].startswith("attachment")
    assert response.headers["x-content-type-options"] == "nosniff"
    for path in ("settings.json", "round-0001.json", "..%2f..%2fidentity%2fcontrol.token", "model.json%00"):
        assert desk.page.request.get(f"{url}/{path}").status == 404, path
    assert httpx.get(f"{url}/model.safetensors").status_code == 401


def test_runs_are_compared_side_by_side(desk):
    desk.open("Runs")
    for name in ("run-0001", "run-0003"):
        desk.page.get_by_label(f"Compare {name}", exact=True).check()
    desk.press("Compare runs")
    desk.sees("Settings that differ")
    table = desk.page.get_by_role("region", name="Settings that differ").inner_text()
    assert "rounds" in table and "min_clinics" in table and "batch_size" not in table
    desk.sees("Final models on test patients")


def test_hub_page_shows_certificates_and_the_audit_log(federation, desk):
    desk.open("Hub")
    desk.sees("hub.embryofl.internal")
    desk.sees(f"localhost:{federation.port}")
    desk.sees("run ended")
    desk.press("Verify audit log")
    desk.sees("The audit log is intact.")
    assert desk.page.asked == {federation.address.removeprefix("http://")}  # no request to another host all day
