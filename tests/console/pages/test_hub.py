"""The page Hub, and every page of a hub that is new or unreachable."""

import pytest

from embryofl_console.pages import clinics, hub
from embryofl_console.texts import texts
from kits.console_pages import EMPTY, Tags, show_clinics, show_hub, show_overview, show_runs


def test_links_to_monitoring_are_http_only():
    page = show_hub(EMPTY, links=hub.monitoring("javascript:alert(1)", "http://localhost:9090"))
    assert "javascript" not in page and 'href="http://localhost:9090"' in page


@pytest.mark.parametrize("state", [None, EMPTY])
def test_pages_explain_a_hub_that_is_unreachable_or_new(state):
    for page in (show_overview(state), show_clinics(state), show_runs(state), show_hub(state)):
        assert not Tags(page).open and (state or texts.page.loading in page)
    assert clinics.open_invites(state) == []
    if state:
        assert texts.overview.invite_next in show_overview(state) and texts.clinics.no_clinic in show_clinics(state)
    assert "Is it being started?" in show_overview(state, "The hub does not answer. Is it being started?")


def test_hub_page_checks_itself_and_the_versions_of_clinics():
    well = hub.checks(EMPTY)
    assert all(good for good, _ in well) and len(well) == 6 and hub.checks(None) == []
    alerts = [
        {"alert": "DiskNearlyFull", "clinic": "", "detail": "4 %"},
        {"alert": "NoProgress", "clinic": "", "detail": ""},
    ]
    old = [{"name": "oslo", "outdated": "0.0.1"}, {"name": "porto", "outdated": ""}]
    wrong = [words for good, words in hub.checks(EMPTY | {"alerts": alerts, "roster": old}) if not good]
    assert "4 % free" in wrong[0] and wrong[1:] == [texts.hub.outdated.format(names="oslo")]
    assert wrong[0] in show_hub(EMPTY | {"alerts": alerts}).replace("&#39;", "'")


def test_audit_log_shows_the_beginning_of_a_digest():
    page = show_hub(
        EMPTY, [{"line": 1, "time": 1.0, "event": "round", "words": f"round=1 model_made={'0123456789abcdef' * 4}"}]
    )
    assert "model_made=0123456789ab...<" in page
