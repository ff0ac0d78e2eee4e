"""Login at the console by the institution's provider: the way of the browser, there and back."""

from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient

from embryofl_console.app import create_app
from embryofl_console.hub import HubClient
from embryofl_console.settings import ConsoleSettings
from kits.hubs import client_of, headers_of, hub_at
from kits.oidc import CONSOLE, provider_at
from kits.people import PASSWORD, cheapen_hashes

FROM_THERE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Accept": "text/html"}


@pytest.fixture
def served(tmp_path, monkeypatch):
    """The hub, its console, and what a browser brings back from the provider for an address there."""
    cheapen_hashes(monkeypatch)
    with provider_at(tmp_path) as (provider, settings, _):
        hub = hub_at(tmp_path / "hub", **settings, oidc_only=True)
        hub.people.add("anna", "coordinator", PASSWORD)
        hub.people.bind("anna", f"{provider.issuer} 7f3a")
        client = HubClient(ConsoleSettings(identity=hub.identity.console))
        client._http = client_of(hub, headers_of(hub, "console"))
        console = create_app(ConsoleSettings(identity=hub.identity.console), client)
        yield hub, console, lambda there: provider.browse(there, settings["oidc_ca"], settings["oidc_proxy"])
        hub.store.close()


def browser(console):
    return TestClient(console, base_url=CONSOLE, follow_redirects=False)


def test_browser_goes_to_the_provider_and_comes_back_logged_in(served):
    hub, console, at_provider = served
    page = browser(console)
    login = page.get("/login").text
    assert 'href="/login/provider"' in login and 'type="password"' not in login  # passwords log nobody in here
    there = page.get("/login/provider")
    cookie = there.headers["set-cookie"]
    assert (
        there.status_code == 303 and "HttpOnly" in cookie and "SameSite=lax" in cookie and "Path=/login/back" in cookie
    )
    entered = page.get("/login/back", params=at_provider(there.headers["location"]), headers=FROM_THERE)
    assert entered.status_code == 200 and entered.headers["refresh"] == "0; url=/"
    kept = next(c for c in entered.headers.get_list("set-cookie") if "embryofl_console_7860=" in c)
    assert "HttpOnly" in kept and "SameSite=strict" in kept
    assert browser(console).get("/web.js").status_code == 401 and page.get("/web.js").status_code == 200
    assert [s.person for s in hub.people.sessions()] == ["anna"]


def test_login_that_another_browser_has_begun_is_not_finished_here(served):
    """A page that sends the coordinator's browser back with somebody else's login would have the coordinator act in that
    person's name, or one person use the login of another."""
    hub, console, at_provider = served
    theirs = at_provider(browser(console).get("/login/provider").headers["location"])
    page = browser(console)
    assert page.get(f"/login/back?{urlencode(theirs)}", headers=FROM_THERE).status_code == 403
    page.get("/login/provider")  # now it has a state of its own
    refused = page.get(f"/login/back?{urlencode(theirs)}", headers=FROM_THERE)
    assert refused.status_code == 403 and "not begun in this browser" in refused.text
    for query in ("", "?error=access_denied", "?state=\u00e9&code=x"):
        assert page.get(f"/login/back{query}", headers=FROM_THERE).status_code == 403
    assert hub.people.sessions() == []


def test_page_of_a_refused_login_says_why_as_text(served):
    hub, console, at_provider = served
    hub.people.disable("anna")
    page = browser(console)
    there = page.get("/login/provider").headers["location"]
    refused = page.get("/login/back", params=at_provider(there), headers=FROM_THERE)
    assert refused.status_code == 403 and "people bind NAME --sub 7f3a" in refused.text
    assert "set-cookie" not in refused.headers and hub.people.sessions() == []
