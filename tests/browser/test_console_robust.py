"""The console in a real browser: when things go wrong, with the keyboard alone, on a phone, and with hostile names."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from embryofl.clinic_keys import openssh
from embryofl.errors import UserError
from embryofl.settings import run_settings
from embryofl_console.texts import texts
from embryofl_server.members.store import ClinicStore
from embryofl_server.runs.log import Runs
from embryofl_web.texts import texts as web
from kits.browser import CHROMIUM, faults, opens, real_browser
from kits.federation import WAIT_S, Federation, clean_environment, until

api = pytest.importorskip("playwright.sync_api", reason="needs playwright (requirements/dev.in)")
pytestmark = [pytest.mark.integration, pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium package")]
PATIENCE = WAIT_S * 1000
OVERVIEW, CLINICS, RUNS, *_ = texts.page.tabs.values()
EVIL = "<img src=x onerror=\"document.title='evil'\"><b id=evil>${document.title='evil'}{{evil}}</b><script>evil()</script>"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A hub that no clinic has joined, and its console."""
    with clean_environment():
        federation = Federation(tmp_path_factory.mktemp("robust") / "demo")
        try:
            federation.stack.start_hub()
            federation.address, federation.password = federation.stack.start_console(0)
            yield federation
        finally:
            federation.stack.stop()


@pytest.fixture(scope="module")
def browser():
    with real_browser() as started:
        yield started


@pytest.fixture
def page(hub, browser):
    """A browser at the login page."""
    context = browser.new_context(base_url=hub.address)
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE)
    until("the console replies", lambda: opens(opened, "/login"), pause=0.5)
    yield opened
    context.close()


def log_in(page, hub):
    page.fill("#password", hub.password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_selector(".next")


def tab(page, name):
    return page.get_by_role("navigation").get_by_role("link", name=name, exact=True)


def each_page(page):
    """Open the pages of the console one after the other and yield their names."""
    for name in texts.page.tabs.values():
        tab(page, name).click()
        api.expect(tab(page, name)).to_have_attribute("aria-current", "page")
        yield name


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault_on_any_page(hub, page, scheme):
    page.emulate_media(color_scheme=scheme)
    assert faults(page) == []
    log_in(page, hub)
    assert {name: faults(page) for name in each_page(page) if faults(page)} == {}


def test_no_page_scrolls_sideways_on_a_phone(hub, page):
    page.set_viewport_size({"width": 390, "height": 844})
    assert width(page) == 390
    log_in(page, hub)
    assert {name: width(page) for name in each_page(page) if width(page) != 390} == {}


def width(page):
    return page.evaluate("document.scrollingElement.scrollWidth")


def test_keyboard_is_enough_to_log_in_and_start_a_run(hub, page):
    reach(page, page.locator("#password"))
    page.keyboard.type(hub.password)
    page.keyboard.press("Enter")
    page.wait_for_selector(".next")
    reach(page, tab(page, RUNS))
    page.keyboard.press("Enter")
    api.expect(tab(page, RUNS)).to_have_attribute("aria-current", "page")
    api.expect(page.get_by_label(texts.common.model, exact=True)).not_to_have_value("")  # filled with the hub's models
    reach(page, page.get_by_role("button", name=texts.new_run.start, exact=True))
    page.keyboard.press("Enter")
    api.expect(page.locator(".done")).to_contain_text("run-0001", timeout=PATIENCE)
    reach(page, tab(page, OVERVIEW), backwards=True)
    page.keyboard.press("Enter")
    api.expect(page.get_by_role("heading", name="run-0001")).to_be_visible(timeout=PATIENCE)
    assert [r["name"] for r in hub.stack.call("GET", "/control/state")["runs"]] == ["run-0001"]
    hub.stop_run()


def reach(page, wanted, *, backwards=False):
    """Press Tab until the element has the focus, and check that the focus is visible."""
    for _ in range(150):
        if wanted.evaluate("e => e === document.activeElement"):
            break
        page.keyboard.press("Shift+Tab" if backwards else "Tab")
    shown = wanted.evaluate("e => { const s = getComputedStyle(e); return s.outlineStyle + s.boxShadow }")
    assert wanted.evaluate("e => e === document.activeElement") and shown != "nonenone"


def test_change_on_the_hub_reaches_an_open_page_and_keeps_dialog_text_and_focus(hub, page):
    log_in(page, hub)
    link = page.locator(".next a")
    link.focus()
    run = hub.start_run(min_clinics=7)
    api.expect(page.get_by_role("heading", name=run)).to_be_visible(timeout=PATIENCE)
    assert link.evaluate("e => e === document.activeElement")
    hub.stop_run()
    tab(page, CLINICS).click()
    page.get_by_role("button", name=texts.invite.title).click()
    page.get_by_label(texts.invite.name).fill("faro")
    hub.stack.call("POST", "/control/invites", {"name": "braga"})
    api.expect(page.locator("#state")).to_contain_text("braga", timeout=PATIENCE)
    api.expect(page.get_by_role("dialog")).to_be_visible()
    api.expect(page.get_by_label(texts.invite.name)).to_have_value("faro")


def test_pages_can_be_read_and_forms_sent_without_javascript(hub, browser):
    context = browser.new_context(base_url=hub.address, java_script_enabled=False)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    until("the console replies", lambda: opens(page, "/login"), pause=0.5)
    log_in(page, hub)
    for name in each_page(page):
        assert texts.page.loading not in page.inner_text("main"), name
    tab(page, CLINICS).click()
    page.get_by_role("button", name=texts.invite.title).click()
    page.get_by_label(texts.invite.name).fill("evora")
    page.get_by_role("button", name=texts.invite.create).click()
    api.expect(page.get_by_role("region", name=texts.way.docker)).to_contain_text("docker run")
    context.close()


def kill(hub, name):
    """Kill the process with SIGKILL; `start` makes the supervisor restart it."""
    process = hub.stack.supervisor.children[name].process
    process.kill()
    process.wait(WAIT_S)


def start(hub, name):
    before = hub.stack.supervisor.pids()[name]

    def again():
        hub.stack.supervisor.check()
        return hub.stack.supervisor.pids()[name] != before

    until(f"{name} is restarted", again)


def replies(hub):
    try:
        return hub.stack.call("GET", "/control/status")
    except UserError:
        return None


def test_open_page_reports_a_lost_hub_and_recovers_when_it_returns(hub, page):
    log_in(page, hub)
    loads = []
    page.on("load", lambda loaded: loads.append(loaded.url))
    kill(hub, "server")
    api.expect(page.get_by_role("alert")).to_contain_text(texts.access.hub_away, timeout=PATIENCE)
    start(hub, "server")
    api.expect(page.locator(".trouble")).to_have_count(0, timeout=PATIENCE)
    hub.stack.call("POST", "/control/invites", {"name": "porto"})
    run = hub.start_run(min_clinics=7)
    api.expect(page.get_by_role("heading", name=run)).to_be_visible(timeout=PATIENCE)
    assert loads == []
    hub.stop_run()


def test_open_page_outlasts_a_restart_of_the_console_and_asks_for_a_login_when_its_session_has_ended(hub, page):
    log_in(page, hub)
    kill(hub, "console")
    away = page.get_by_role("alert").filter(has_text=web.away)
    api.expect(away).to_be_visible(timeout=PATIENCE)
    start(hub, "console")
    api.expect(away).not_to_be_visible(timeout=PATIENCE)
    hub.stack.call("POST", "/control/people/password", {"name": "coordinator", "password": hub.password})
    page.wait_for_url("**/login?again")
    api.expect(page.get_by_role("alert")).to_contain_text(texts.access.again)
    log_in(page, hub)


def test_field_at_which_somebody_types_stays_when_another_choice_changes_the_form(hub, page):
    log_in(page, hub)
    tab(page, "Runs").click()
    held = []

    def hold(route):
        held.append(route)

    page.route("**/runs/estimate", hold, times=1)
    with page.expect_request("**/runs/estimate"):
        page.get_by_label("Model", exact=True).select_option("small_cnn")
    page.get_by_label("Rounds").select_text()
    held[0].continue_()
    api.expect(page.get_by_text("A small network trained from scratch.")).to_be_visible()
    page.keyboard.type("7")
    api.expect(page.get_by_label("Rounds")).to_have_value("7")


def test_html_in_names_and_reasons_is_text_on_every_page(hub, page):
    """The last test: it makes the hub's state hostile on disk, since the hub itself would reject such names."""
    kill(hub, "server")
    store = ClinicStore(hub.place.hub / "clinics.db")
    key = openssh(ec.generate_private_key(ec.SECP384R1()))
    counts = {"counts": {"5": {"0": 30, "1": 30}}, "patients": 20}
    store.enrol(EVIL, store.invite(EVIL, 7), key, "quality", counts, "enrolled")
    store.set_state(EVIL, "suspended", EVIL)
    store.invite(EVIL + "2", 7)
    store.close()
    run = Runs(hub.place.hub / "runs").create(run_settings({"min_clinics": 2}))
    run.set_state("failed", 0, EVIL)
    run.folder.rename(run.folder.with_name(run.name + EVIL.replace("/", "")))
    start(hub, "server")
    until("the hub replies", lambda: replies(hub))  # it checks passwords
    log_in(page, hub)
    api.expect(page.locator("body")).to_contain_text("<img src=x", timeout=PATIENCE)  # shown as text
    for _ in each_page(page):
        assert page.locator("#evil, img[src=x]").count() == 0
    assert "evil" not in page.title()
