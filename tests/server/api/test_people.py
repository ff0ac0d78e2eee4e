"""Who may do what: people and their roles, at every route of the control API."""

import json

import pytest
from fastapi.testclient import TestClient

from embryofl.errors import UserError
from embryofl_server.api.app import create_app
from embryofl_server.members.limits import LOGINS
from embryofl_server.state import people
from kits.console_routes import filled
from kits.enrolment import audit, join
from kits.people import PASSWORD, ROLES, cheapen_hashes, everybody

AUDITORS, COORDINATORS = {"auditor", "coordinator", "operator"}, {"coordinator", "operator"}
ALL = {*ROLES, "operator", "console"}
# Every route of the control API, by method and who may use it: one that is added must be added here, too, and so is tested below.
ROUTES = [
    (
        "GET",
        ALL,
        """login state courses status runs offers invites clinics statistics clinics/{name} runs/{run}/results
        runs/{run}/files/{name} runs/{run}/outline""",
    ),
    ("GET", AUDITORS, "audit audit/verify people"),
    ("POST", ALL, "login logout"),
    (
        "POST",
        COORDINATORS,
        """runs stop pause continue estimate invites invites/withdraw suspend resume revoke rename approve refuse
        runs/{run}/note authority requests/confirm requests/withdraw""",
    ),
    ("POST", {"operator"}, "people people/password people/disable"),
]
MAY = {(method, f"/control/{path}"): roles for method, roles, paths in ROUTES for path in paths.split()}


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch):
    cheapen_hashes(monkeypatch)


@pytest.fixture
def api(hub):
    return TestClient(create_app(hub))


@pytest.fixture
def headers(hub):
    """By role."""
    console, operator = (
        {"Authorization": f"Bearer {token}"} for token in (hub.identity.console_token, hub.identity.control_token)
    )
    people = {role: {**console, "X-Embryofl-Session": session} for role, session in everybody(hub).items()}
    return {**people, "operator": operator, "console": console}


def test_every_route_is_for_its_roles_alone(api, hub, headers, key):
    join(hub, "lisbon", key)
    listed = {(m.upper(), path) for path, methods in api.app.openapi()["paths"].items() for m in methods}
    assert {(m, path) for m, path in listed if path.startswith("/control")} == set(MAY)
    before = hub.store.rows("SELECT * FROM clinics"), hub.people.all()
    for (method, path), roles in MAY.items():
        for role in ALL - roles:
            body = {"name": "lisbon", "password": PASSWORD, "role": "viewer", "to": "porto", "settings": {}}
            response = api.request(method, filled(path), headers=headers[role], json=body)
            assert response.status_code == 403 and "(H11" in response.json()["detail"], (role, method, path)
        for role in roles if method == "GET" else ():
            assert api.get(filled(path), headers=headers[role]).status_code != 403, (role, path)
    assert (hub.store.rows("SELECT * FROM clinics"), hub.people.all()) == before and hub.runs.all() == []
    assert api.post("/control/suspend", json={"name": "lisbon"}, headers=headers["coordinator"]).status_code == 200


def test_consoles_token_without_a_person_changes_nothing(api, hub, key):
    join(hub, "lisbon", key)
    headers = {"Authorization": f"Bearer {hub.identity.console_token}"}
    for path in ("suspend", "revoke"):
        assert api.post(f"/control/{path}", json={"name": "lisbon"}, headers=headers).status_code == 403
    assert hub.store.clinic("lisbon").state == "enrolled"


def test_audit_log_names_the_person_or_the_operator(api, hub, headers):
    operator = headers["operator"]
    session = headers["coordinator"]["X-Embryofl-Session"]
    for given, by in (
        (headers["coordinator"] | {"X-Embryofl-By": "somebody else"}, "coordinator"),
        (operator | {"X-Embryofl-Session": session}, "coordinator (command line)"),
        (operator | {"X-Embryofl-By": "root@hub"}, "operator (root@hub)"),
        (operator, "operator"),
    ):
        assert api.post("/control/invites", json={"name": "bert"}, headers=given).status_code == 200
        assert audit(hub, "invited")[-1]["by"] == by


def test_session_of_a_disabled_person_ends_at_once(api, hub, headers):
    copy = hub.identity.console / "sessions.json"
    assert len(json.loads(copy.read_text())) == 3
    assert api.post("/control/people/disable", json={"name": "auditor"}, headers=headers["operator"]).status_code == 200
    assert api.get("/control/status", headers=headers["auditor"]).status_code == 401
    assert {entry["name"] for entry in json.loads(copy.read_text()).values()} == {"viewer", "coordinator"}
    given = {"name": "auditor", "password": PASSWORD}
    assert api.post("/control/login", json=given, headers=headers["console"]).status_code == 403
    for path in ("people/disable", "people/password"):
        again = api.post(f"/control/{path}", json=given, headers=headers["operator"])
        assert again.status_code == 400 and "(H10" in again.json()["error"]
    assert api.post("/control/people", json={**given, "role": "viewer"}, headers=headers["operator"]).status_code == 200
    assert [e["person"] for e in audit(hub, "person_disabled")] == ["auditor"]
    session = api.post("/control/login", json=given, headers=headers["console"]).json()["session"]
    assert hub.people.logged_in(session).role == "viewer"


def test_login_is_by_name_unless_there_is_one_person_only(api, hub):
    console = {"Authorization": f"Bearer {hub.identity.console_token}"}
    log_in = lambda **given: api.post("/control/login", json=given, headers=console).status_code  # noqa: E731
    assert log_in(password=PASSWORD) == 403  # nobody yet
    hub.people.add("anna", "coordinator", PASSWORD)
    assert api.get("/control/login", headers=console).json() == {"named": False}
    assert log_in(password=PASSWORD) == log_in(name="anna", password=PASSWORD) == 200
    hub.people.add("bert", "viewer", PASSWORD + "!")
    assert api.get("/control/login", headers=console).json() == {"named": True}
    assert log_in(password=PASSWORD) == log_in(name="bert", password=PASSWORD) == 403


def test_guessing_passwords_is_slowed_down(api, hub, monkeypatch):
    hub.people.add("anna", "coordinator", PASSWORD)
    console = {"Authorization": f"Bearer {hub.identity.console_token}"}
    with monkeypatch.context() as patch:
        patch.setattr(people, "_is_password", lambda *_: False)  # what it costs to check one is not the point here
        given = [{"name": f"anna{n % 2 or ''}", "password": f"guess {n}"} for n in range(LOGINS.most)]
        assert {api.post("/control/login", json=x, headers=console).status_code for x in given} == {403}
    right = api.post("/control/login", json={"name": "anna", "password": PASSWORD}, headers=console)
    assert right.status_code == 429 and "(H9" in right.json()["detail"]


def test_new_password_ends_sessions_and_passwords_are_kept_as_hashes(hub):
    hub.people.add("anna", "coordinator", PASSWORD)
    session = hub.people.log_in("anna", PASSWORD)
    hub.people.set_password("anna", PASSWORD + "!")
    assert hub.people.logged_in(session) is None and hub.people.log_in("anna", PASSWORD) == ""
    again = hub.people.log_in("anna", PASSWORD + "!")
    assert hub.people.logged_in(again).name == "anna"
    hub.people.log_out(again)
    assert hub.people.logged_in(again) is None
    files = [p.read_bytes() for p in hub.settings.state_dir.rglob("*") if p.is_file()]
    kept = b"".join(files)
    assert b"$argon2id$" in kept and PASSWORD.encode() not in kept and again.encode() not in kept


def test_session_expires_and_too_many_end_the_oldest(hub, monkeypatch):
    hub.people.add("anna", "coordinator", PASSWORD)
    monkeypatch.setattr(people, "_is_password", lambda *_: True)
    sessions = [hub.people.log_in("anna", "") for _ in range(people.MOST_SESSIONS + 1)]
    assert [hub.people.logged_in(s) is None for s in sessions] == [True] + [False] * people.MOST_SESSIONS
    now = people.time.time()
    monkeypatch.setattr(people.time, "time", lambda: now + people.SESSION_S + 60)
    assert not any(map(hub.people.logged_in, sessions))


@pytest.mark.parametrize("name", ["", "Anna", "operator", "console", "a b", "-a", "a" * 41, "anna\n"])
def test_names_that_the_audit_log_would_confuse_are_rejected(hub, name):
    with pytest.raises(UserError, match="cannot be a person's name"):
        hub.people.add(name, "viewer", PASSWORD)


def test_person_of_the_same_name_and_a_short_password_are_rejected(hub):
    hub.people.add("anna", "viewer", PASSWORD)
    with pytest.raises(UserError, match="already is a person 'anna'"):
        hub.people.add("anna", "coordinator", PASSWORD)
    with pytest.raises(UserError, match="has 5 characters"):
        hub.people.add("bert", "viewer", "short")
    assert [(p.name, p.role) for p in hub.people.all().values()] == [("anna", "viewer")]
