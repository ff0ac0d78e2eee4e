"""Login by the institution's provider: who gets in, and every lie that does not."""

from urllib.parse import parse_qs, urlsplit

import pytest

from embryofl.errors import UserError
from embryofl_server.settings import HubSettings
from embryofl_server.state.provider import provider_of
from kits.enrolment import audit
from kits.hubs import client_of, headers_of, hub_at
from kits.oidc import provider_at
from kits.people import PASSWORD, cheapen_hashes


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with provider_at(tmp_path_factory.mktemp("provider")) as served:
        yield served


@pytest.fixture
def provider(served):
    served[0].forget()
    return served[0]


@pytest.fixture
def settings(served):
    return served[1]


@pytest.fixture
def hub(tmp_path, settings, monkeypatch):
    cheapen_hashes(monkeypatch)
    hub = hub_at(tmp_path / "hub", **settings)
    hub.people.add("anna", "coordinator", PASSWORD)
    yield hub
    hub.store.close()


@pytest.fixture
def api(hub):
    return client_of(hub, headers_of(hub, "console"))


def begin(api):
    begun = api.post("/control/login/provider").json()
    return begun["address"], begun["state"]


def finish(api, state, code):
    return api.post("/control/login/provider/finish", json={"state": state, "code": code})


@pytest.fixture
def log_in(api, provider, settings):
    """The whole way."""

    def log_in():
        address, _ = begin(api)
        return finish(api, **provider.browse(address, settings["oidc_ca"], settings["oidc_proxy"]))

    return log_in


def bind(hub, name="anna", **account):
    body = {"name": name, **account}
    response = client_of(hub, headers_of(hub)).post("/control/people/bind", json=body)
    assert response.status_code == 200, response.text


def test_person_logs_in_by_the_institution_and_acts_in_that_name(hub, api, log_in, provider, served):
    bind(hub, sub="7f3a")
    session = log_in().json()["session"]
    headers = headers_of(hub, "console", session)
    assert api.get("/control/account", headers=headers).json()["name"] == "anna"
    assert api.post("/control/invites", json={"name": "bert"}, headers=headers).status_code == 200
    assert audit(hub, "invited")[-1]["by"] == "anna"
    assert audit(hub, "person_bound")[-1]["account"] == f"{provider.issuer} 7f3a"
    assert api.get("/control/login").json()["provider"] is True
    assert set(served[2].asked) == {provider.issuer.removeprefix("https://")}  # by the one way that there is


LIES = {
    "another issuer": lambda t: {**t, "iss": "https://evil.example"},
    "no issuer": lambda t: {k: v for k, v in t.items() if k != "iss"},
    "for another client": lambda t: {**t, "aud": "another"},
    "for another client, too": lambda t: {**t, "aud": ["embryofl", "another"]},
    "passed on by another client": lambda t: {**t, "azp": "another"},
    "for nobody": lambda t: {k: v for k, v in t.items() if k != "aud"},
    "another login's": lambda t: {**t, "nonce": "n"},
    "no login's": lambda t: {k: v for k, v in t.items() if k != "nonce"},
    "expired": lambda t: {**t, "exp": t["exp"] - 3600, "iat": t["iat"] - 3600},
    "without an end": lambda t: {k: v for k, v in t.items() if k != "exp"},
    "of tomorrow": lambda t: {**t, "iat": t["iat"] + 86_400},
    "with another access token": lambda t: {**t, "at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
    "without an account": lambda t: {k: v for k, v in t.items() if k != "sub"},
    "an account that is none": lambda t: {**t, "sub": ["7f3a"]},
}


def test_token_that_is_not_for_this_login_is_refused(hub, log_in, provider):
    bind(hub, sub="7f3a")
    for name, lie in LIES.items():
        provider.lie = lie
        response = log_in()
        assert response.status_code == 400 and "(H9" in response.json()["error"], name
    assert hub.people.sessions() == []


def test_token_that_the_provider_has_not_signed_is_refused(hub, log_in, provider):
    bind(hub, sub="7f3a")
    for sign in (provider.unsigned, provider.signed_with_the_clients_secret, provider.signed_with_another_key):
        provider.sign = sign
        response = log_in()
        assert response.status_code == 400 and "(H9" in response.json()["error"], sign
    assert hub.people.sessions() == []


def test_login_that_was_not_begun_was_used_or_is_too_old_is_refused(hub, api, provider, settings, monkeypatch):
    bind(hub, sub="7f3a")
    address, _ = begin(api)
    back = provider.browse(address, settings["oidc_ca"], settings["oidc_proxy"])
    assert finish(api, "a" * 43, back["code"]).status_code == 400
    assert finish(api, **back).status_code == 200
    assert "was used" in finish(api, **back).json()["error"]
    monkeypatch.setattr("embryofl_server.state.provider.UNDER_WAY_S", -1.0)
    address, _ = begin(api)
    back = provider.browse(address, settings["oidc_ca"], settings["oidc_proxy"])
    assert "longer than ten minutes" in finish(api, **back).json()["error"]
    assert len(hub.people.sessions()) == 1


def test_code_of_another_login_or_for_another_address_is_worth_nothing(hub, api, provider, settings):
    """Of somebody who has read a code on its way: the provider wants the verifier, which is the hub's alone."""
    bind(hub, sub="7f3a")
    address, state = begin(api)
    assert parse_qs(urlsplit(address).query)["redirect_uri"] == [f"{settings['oidc_console']}/login/back"]
    stolen = provider.browse(address, settings["oidc_ca"], settings["oidc_proxy"])["code"]
    _, own = begin(api)
    assert finish(api, own, stolen).status_code == 400
    evil = "http://evil.example/login/back"
    address, state = begin(api)
    elsewhere = address.replace(
        "http%3A%2F%2Flocalhost%3A7860%2Flogin%2Fback", "http%3A%2F%2Fevil.example%2Flogin%2Fback"
    )
    assert elsewhere != address
    with pytest.raises(AssertionError, match="not a client of ours"):
        provider.browse(elsewhere, settings["oidc_ca"], settings["oidc_proxy"])
    provider.redirects.add(evil)  # a provider that is set up carelessly
    code = provider.browse(elsewhere, settings["oidc_ca"], settings["oidc_proxy"])["code"]
    assert finish(api, state, code).status_code == 400 and hub.people.sessions() == []


def test_only_people_of_the_hub_get_in_and_no_disabled_one(hub, log_in, provider):
    for claims in ({"sub": "7f3a"}, {"sub": "anna"}, {"sub": "7f3a", "name": "anna", "preferred_username": "anna"}):
        provider.claims = claims
        response = log_in()
        assert response.status_code == 403 and f"--sub {claims['sub']}" in response.json()["detail"]
    bind(hub, sub="7f3a")
    hub.people.disable("anna")
    assert log_in().status_code == 403 and hub.people.sessions() == []
    hub.people.add("anna", "viewer", PASSWORD)  # again, who has to be bound again
    assert log_in().status_code == 403
    bind(hub, sub="7f3a")
    assert log_in().status_code == 200
    bind(hub)
    assert log_in().status_code == 403 and hub.people.sessions() == []


def test_verified_address_binds_the_account_that_first_has_it(hub, log_in, provider):
    bind(hub, email="Anna@hospital.example")
    address = {"email": "anna@Hospital.example"}
    for claims in ({}, {"email_verified": False}, {"email_verified": "true"}):
        provider.claims = {"sub": "7f3a", **address, **claims}
        assert log_in().status_code == 403, claims
    provider.claims = {"sub": "7f3a", **address, "email_verified": True}
    assert log_in().status_code == 200
    assert audit(hub, "person_bound")[-1]["by"] == "anna"
    provider.claims["sub"] = "8b1c"  # somebody else, to whom the address has come
    assert log_in().status_code == 403
    provider.claims = {"sub": "7f3a"}
    assert log_in().status_code == 200


def test_account_is_one_persons(hub):
    hub.people.add("bert", "viewer", PASSWORD)
    bind(hub, sub="7f3a")
    with pytest.raises(UserError, match="anna has this account"):
        hub.people.bind("bert", hub.people.person("anna").account)
    response = client_of(hub, headers_of(hub)).post("/control/people/bind", json={"name": "bert", "email": "b, c@d"})
    assert response.status_code == 400 and hub.people.person("bert").account == ""


@pytest.mark.parametrize(
    "says",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "http://login.hospital.example/token"},
        {"jwks_uri": "file:///x"},
    ],
)
def test_provider_that_describes_itself_as_another_is_not_asked(api, provider, says):
    provider.discovery = says
    response = api.post("/control/login/provider")
    assert response.status_code == 400 and "(H9" in response.json()["error"]


def test_where_no_way_leads_to_the_provider_the_page_says_so(tmp_path, settings):
    hub = hub_at(tmp_path / "hub", **{**settings, "oidc_proxy": ""})
    response = client_of(hub, headers_of(hub, "console")).post("/control/login/provider")
    assert response.status_code == 400 and "EMBRYOFL_OIDC_PROXY" in response.json()["error"]
    hub.store.close()


def test_passwords_log_nobody_in_where_the_hub_is_set_so(tmp_path, settings, monkeypatch):
    cheapen_hashes(monkeypatch)
    hub = hub_at(tmp_path / "hub", **settings, oidc_only=True)
    hub.people.add("anna", "coordinator", PASSWORD)
    api = client_of(hub, headers_of(hub, "console"))
    response = api.post("/control/login", json={"name": "anna", "password": PASSWORD})
    assert response.status_code == 403 and hub.people.sessions() == []
    assert api.get("/control/login").json()["passwords"] is False
    hub.store.close()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"oidc_issuer": "http://login.hospital.example"}, "Expected an address with https://"),
        ({"oidc_client_id": ""}, "EMBRYOFL_OIDC_CLIENT_ID"),
        ({"oidc_console": "localhost:7860"}, "EMBRYOFL_OIDC_CONSOLE"),
        ({"oidc_console": "http://localhost:7860/elsewhere"}, "EMBRYOFL_OIDC_CONSOLE"),
        ({"oidc_client_secret_file": "missing"}, "is not a file"),
        ({"oidc_issuer": "", "oidc_only": True}, "nobody could log in"),
    ],
)
def test_settings_that_do_not_fit_are_rejected_when_the_hub_starts(settings, changed, words):
    with pytest.raises(UserError, match=words):
        provider_of(HubSettings(**{**settings, **changed}))
