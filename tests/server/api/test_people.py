"""Who may do what: people and their roles, at every route of the control API."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from embryofl.errors import UserError
from embryofl_server.members.limits import LOGINS
from embryofl_server.state import people
from kits.console_routes import filled
from kits.enrolment import audit, join
from kits.hubs import client_of, headers_of
from kits.people import PASSWORD, ROLES, cheapen_hashes, everybody

AUDITORS, COORDINATORS = {"auditor", "coordinator", "operator"}, {"coordinator", "operator"}
ALL = {*ROLES, "operator", "console"}
# Every route of the control API, by method and who may use it: one that is added must be added here, too, and so is tested below.
ROUTES = [
    (
        "GET",
        ALL,
        """login state courses status runs offers invites clinics statistics clinics/{name} runs/{run}/results
        runs/{run}/files/{name} runs/{run}/outline runs/{run}/audit""",
    ),
    ("GET", AUDITORS, "audit audit/verify people sessions"),
    ("POST", ALL, "login login/provider login/provider/finish logout"),
    (
        "POST",
        COORDINATORS,
        """runs stop pause continue estimate validate invites invites/withdraw suspend resume revoke rename approve refuse
        runs/{run}/note runs/{run}/audit authority requests/confirm requests/withdraw""",
    ),
    ("POST", {"operator"}, "people people/password people/disable people/codes/end people/bind sessions/end"),
    ("GET", {*ROLES}, "account"),
    ("GET", set(), "notices"),  # its own token opens it alone
    ("POST", {*ROLES}, "account/password account/codes account/codes/confirm account/codes/end account/sessions/end"),
]
MAY = {(method, f"/control/{path}"): roles for method, roles, paths in ROUTES for path in paths.split()}


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch):
    cheapen_hashes(monkeypatch)


@pytest.fixture
def api(hub):
    return client_of(hub)


@pytest.fixture
def headers(hub):
    """By role."""
    people = {role: headers_of(hub, "console", session) for role, session in everybody(hub).items()}
    return {**people, **{who: headers_of(hub, who) for who in ("operator", "console")}}


def test_every_route_is_closed_without_a_token(api, hub, key):
    join(hub, "lisbon", key)

    def status(method, path, **headers):
        return api.request(method, filled(path), json={"name": "lisbon"}, headers=headers).status_code

    assert {status(*route, Authorization="Bearer x") for route in MAY} == {401}
    others = (b"", b"Bearer ", "Bearer \u00e9".encode(), b"Basic eDp4")
    assert {status("POST", "/control/suspend", Authorization=token) for token in others} == {401}
    assert status("POST", "/control/suspend") == 401 and hub.store.clinic("lisbon").state == "enrolled"


def test_every_route_is_for_its_roles_alone(api, hub, headers, key):
    join(hub, "lisbon", key)
    listed = {(m.upper(), path) for path, methods in api.app.openapi()["paths"].items() for m in methods}
    assert {(m, path) for m, path in listed if path.startswith("/control")} == set(MAY)
    before = hub.store.rows("SELECT * FROM clinics"), hub.people.all()
    for (method, path), roles in MAY.items():
        for role in ALL - roles:
            body = {
                "name": "lisbon",
                "password": PASSWORD,
                "role": "viewer",
                "to": "porto",
                "settings": {},
                "number": 1,
                "code": "",
                "new": "",
            }
            response = api.request(method, filled(path), headers=headers[role], json=body)
            assert response.status_code == 403 and "(H11" in response.json()["detail"], (role, method, path)
        for role in roles if method == "GET" else ():
            assert api.get(filled(path), headers=headers[role]).status_code != 403, (role, path)
    assert (hub.store.rows("SELECT * FROM clinics"), hub.people.all()) == before and hub.runs.all() == []
    assert api.post("/control/suspend", json={"name": "lisbon"}, headers=headers["coordinator"]).status_code == 200


def test_notifiers_token_opens_what_people_are_told_and_no_other_route(api, hub, key):
    join(hub, "lisbon", key)
    hub.membership.suspend("lisbon", "looked at", "me")
    headers = headers_of(hub, "notifier")
    answers = {
        route: api.request(route[0], filled(route[1]), headers=headers, json={"name": "lisbon"}) for route in MAY
    }
    assert answers.pop(("GET", "/control/notices")).json() == [["ClinicSuspended", "lisbon", ""]]
    assert {answer.status_code for answer in answers.values()} == {401}


def test_consoles_token_without_a_person_changes_nothing(api, hub, key):
    join(hub, "lisbon", key)
    headers = headers_of(hub, "console")
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
    console = headers_of(hub, "console")
    log_in = lambda **given: api.post("/control/login", json=given, headers=console).status_code  # noqa: E731
    assert log_in(password=PASSWORD) == 403  # nobody yet
    hub.people.add("anna", "coordinator", PASSWORD)
    by_password = {"provider": False, "passwords": True}
    assert api.get("/control/login", headers=console).json() == {"named": False, "coded": False, **by_password}
    assert log_in(password=PASSWORD) == log_in(name="anna", password=PASSWORD) == 200
    hub.people.add("bert", "viewer", PASSWORD + "!")
    assert api.get("/control/login", headers=console).json() == {"named": True, "coded": False, **by_password}
    assert log_in(password=PASSWORD) == log_in(name="bert", password=PASSWORD) == 403


def test_guessing_passwords_is_slowed_down(api, hub, monkeypatch):
    hub.people.add("anna", "coordinator", PASSWORD)
    console = headers_of(hub, "console")
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


def codes(key):
    """The code of a moment."""
    totp = TOTP(base64.b32decode(key), 6, SHA1(), 30, enforce_key_length=False)
    return lambda moment: totp.generate(int(moment)).decode()


def test_login_needs_a_one_time_code_once_it_is_set_up_and_each_works_once(api, hub, headers, monkeypatch):
    own, now = headers["viewer"], people.time.time()
    monkeypatch.setattr(people.time, "time", lambda: now)

    def log_in(code):
        given = {"name": "viewer", "password": PASSWORD, "code": code}
        return api.post("/control/login", json=given, headers=headers["console"]).status_code

    def post(path, **body):
        return api.post(f"/control/account/{path}", json=body, headers=own).status_code

    assert post("codes/confirm", code="123456") == 400  # not begun
    made = api.post("/control/account/codes", headers=own).json()
    code = codes(made["key"])
    assert f"secret={made['key']}" in made["uri"] and log_in("") == 200  # not confirmed
    assert post("codes/confirm", code="x") == post("codes/confirm", code=code(now - 90)) == 400
    assert post("codes/confirm", code=code(now)) == 200
    assert (
        api.get("/control/login", headers=headers["console"]).json().items() >= {"named": True, "coded": True}.items()
    )
    assert log_in(code(now)) == log_in("") == log_in(code(now + 90)) == 403
    now += 30
    assert [log_in(code(now)) for _ in "12"] == [200, 403]
    assert post("codes/end", password="guess") == 400 and log_in("") == 403
    assert post("codes/end", password=PASSWORD) == 200 and log_in("") == 200
    assert [e["by"] for e in audit(hub, "codes_required") + audit(hub, "codes_not_required")] == ["viewer", "viewer"]


def test_operator_ends_the_codes_of_a_person_who_has_lost_the_app(api, hub, headers):
    code = codes(hub.people.begin_codes("auditor"))
    hub.people.confirm_codes("auditor", code(people.time.time()))
    assert hub.people.log_in("auditor", PASSWORD) == ""
    ended = api.post("/control/people/codes/end", json={"name": "auditor"}, headers=headers["operator"])
    assert ended.status_code == 200 and hub.people.log_in("auditor", PASSWORD)


def test_people_replace_their_own_password_and_end_their_own_sessions_alone(api, hub, headers):
    own = headers["viewer"]

    def post(path, **body):
        return api.post(f"/control/account/{path}", json=body, headers=own)

    numbers = {s.person: s.number for s in hub.people.sessions()}
    assert [s["own"] for s in api.get("/control/account", headers=own).json()["sessions"]] == [True]
    assert post("sessions/end", number=numbers["coordinator"]).status_code == 400
    another = hub.people.log_in("viewer", PASSWORD)
    assert post("sessions/end", number=hub.people.sessions()[0].number).status_code == 200
    assert hub.people.logged_in(another) is None and hub.people.logged_in(own["X-Embryofl-Session"])
    assert "present password" in post("password", password="guess", new=PASSWORD + "!").json()["error"]
    assert "Expected 12" in post("password", password=PASSWORD, new="short").json()["error"]
    assert post("password", password=PASSWORD, new=PASSWORD + "!").status_code == 200
    assert post("codes").status_code == 401  # all of that person's sessions have ended
    assert hub.people.log_in("viewer", PASSWORD + "!") and hub.people.logged_in(
        headers["auditor"]["X-Embryofl-Session"]
    )
    body = {"number": numbers["auditor"]}
    assert api.post("/control/sessions/end", json=body, headers=headers["operator"]).json() == {"name": "auditor"}
    assert hub.people.logged_in(headers["auditor"]["X-Embryofl-Session"]) is None


def test_guessing_ones_own_password_is_slowed_down_as_logins_are(api, headers, monkeypatch):
    """Else a session that somebody has left open would tell the password."""
    monkeypatch.setattr(people, "_is_password", lambda *_: False)

    def guess():
        return api.post("/control/account/codes/end", json={"password": "guess"}, headers=headers["viewer"]).json()

    assert ["Too many" in guess()["error"] for _ in range(LOGINS.most + 1)] == [False] * LOGINS.most + [True]


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
