"""The console's access control: login, other sites, other host names, uploads."""

import base64
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import uvicorn
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from typer.testing import CliRunner, Result

from embryofl_console.app import create_app
from embryofl_console.hub import HubClient
from embryofl_console.settings import ConsoleSettings
from embryofl_server.api.app import create_app as create_api
from embryofl_server.cli import commands
from embryofl_server.members.limits import LOGINS
from kits.console_routes import filled, routes
from kits.enrolment import audit
from kits.hubs import hub_at
from kits.people import PASSWORD, cheapen_hashes, everybody
from kits.ports import free_port

pytestmark = pytest.mark.integration  # a real console

COORDINATOR = {"name": "coordinator", "password": PASSWORD}
PROGRAM = Path(sys.executable).with_name("embryofl-console")
# Every route: one that is added must be added here, too, and so is tested below.
PAGES = ["/", "/clinics", "/clinic", "/runs", "/compare", "/results", "/hub", "/account"]
OWN = ["/account/password", "/account/codes", "/account/codes/confirm", "/account/codes/end", "/account/sessions/end"]
POSTS = [
    "/invite",
    "/withdraw",
    "/clinic/{action}",
    "/local/{action}",
    "/runs/estimate",
    "/runs/note",
    "/runs/start",
    "/runs/{action}",
    "/request/{action}",
    "/results/validate",
    *OWN,
    "/logout",
]
OTHERS = ["/card", "/results/file", "/download/{run}/{name}", "/here", "/web.js"]
OPEN = {
    ("GET", "/login"): 200,
    ("POST", "/login"): 403,
    ("GET", "/login/provider"): 503,  # this hub has none
    ("GET", "/login/back"): 403,
    ("GET", "/web.css"): 200,
    ("GET", "/healthz"): 200,
}
ALL = {*OPEN, *(("GET", path) for path in PAGES + OTHERS), *(("POST", path) for path in POSTS)}


class Console:
    """A real console process, and the API of its hub in this process."""

    def __init__(self, root: Path) -> None:
        self.hub = hub_at(root / "hub")
        certificate, key = self.hub.identity.certificate
        port, hub_port = free_port(), free_port()
        config = uvicorn.Config(
            create_api(self.hub),
            port=hub_port,
            ssl_certfile=str(certificate),
            ssl_keyfile=str(key),
            log_level="error",
            lifespan="off",
        )
        self.api = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.api.run)
        self.thread.start()
        identity = self.hub.identity.console
        self.settings = ConsoleSettings(port=port, hub=f"127.0.0.1:{hub_port}", identity=identity)
        given = self.settings.model_dump(include={"port", "hub", "identity"})
        self.env = {**os.environ, **{f"EMBRYOFL_CONSOLE_{name.upper()}": str(value) for name, value in given.items()}}
        self.hub.audit.write("hub_started")
        self.sessions = everybody(self.hub)
        self.url, self.cookie = f"http://127.0.0.1:{port}", f"embryofl_console_{port}"
        self.process = subprocess.Popen([PROGRAM, "serve"], env=self.env)
        end = time.monotonic() + 120
        while True:
            try:
                httpx.get(f"{self.url}/healthz", timeout=60)
                break
            except httpx.HTTPError:
                assert self.process.poll() is None and time.monotonic() < end
                time.sleep(0.1)

    def identities(self) -> list[str]:
        """Whose sessions there are."""
        return sorted(
            entry["name"] for entry in json.loads((self.settings.identity / "sessions.json").read_text()).values()
        )

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.api.should_exit = True
        self.thread.join(20)
        self.hub.store.close()

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Origin": self.url}, timeout=60)

    @contextmanager
    def logged_in(self) -> Iterator[httpx.Client]:
        with self.client() as browser:
            assert browser.post("/login", data=COORDINATOR).status_code == 303
            yield browser

    @contextmanager
    def as_role(self, role: str) -> Iterator[httpx.Client]:
        with self.client() as browser:
            browser.cookies[self.cookie] = self.sessions[role]
            yield browser


@pytest.fixture(scope="module")
def console(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        cheapen_hashes(patch)
        running = Console(tmp_path_factory.mktemp("console"))
        yield running
        running.close()


@pytest.fixture(scope="module")
def listed(console):
    """All routes of the application: methods, and paths with the names of their parameters."""
    return set(routes(create_app(console.settings, HubClient(console.settings)).app))


def test_there_are_no_routes_but_those_tested_here(listed):
    assert listed == ALL


def test_every_route_needs_a_login(console, listed):
    with console.client() as stranger:
        statuses = {(m, p): stranger.request(m, filled(p)).status_code for m, p in listed}
        assert {a: s for a, s in statuses.items() if s != 401} == {**OPEN, ("GET", "/"): 303}
        assert stranger.get("/").headers["location"] == "/login"
        for path in PAGES:  # a browser that opens a page is asked to log in
            assert stranger.get(path, headers={"Accept": "text/html"}).headers["location"] == "/login"
        for session in ("guessed", "", "a; b=c"):
            assert stranger.get("/hub", headers={"Cookie": f"{console.cookie}={session}"}).status_code == 401
        assert stranger.get("/anything").status_code == stranger.post("/upload", content=b"x").status_code == 401


def test_every_route_rejects_other_sites_and_other_host_names(console, listed):
    with console.logged_in() as browser:
        for method, path in listed:
            for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}):
                assert browser.request(method, filled(path), headers=headers).status_code == 403, (path, headers)
            for host in ("evil.example", "evil.example:7860", "localhost.evil.example:80", ""):
                assert browser.request(method, filled(path), headers={"Host": host}).status_code == 421, (path, host)
        del browser.headers["Origin"]
        for method, path in listed:
            headers = {"Sec-Fetch-Site": "cross-site"}
            assert browser.request(method, filled(path), headers=headers).status_code == 403, path
            if method == "POST":  # every browser sends an Origin with a form
                assert browser.post(filled(path)).status_code == 403, path
        assert browser.get("/here").status_code == 204


def test_every_route_rejects_a_session_that_has_ended(console, listed):
    with console.logged_in() as browser:
        ended = {"Cookie": f"{console.cookie}={browser.cookies[console.cookie]}"}
        assert browser.get("/here", headers=ended).status_code == 204
        assert browser.post("/logout").headers["location"] == "/login"
    with console.client() as stranger:
        statuses = {(m, p): stranger.request(m, filled(p), headers=ended).status_code for m, p in listed - set(OPEN)}
    assert {a: s for a, s in statuses.items() if s != 401} == {("GET", "/"): 303}


def test_password_opens_the_console_and_its_policy_is_strict(console):
    with console.logged_in() as browser:
        for path in PAGES:
            page = browser.get(path, follow_redirects=True)
            policy = page.headers["content-security-policy"]
            assert page.status_code == 200 and "frame-ancestors 'none'" in policy
            assert "default-src 'none'" in policy and "script-src 'self';" in policy and "unsafe" not in policy
            assert "access-control-allow-origin" not in page.headers
            assert "<style" not in page.text and " style=" not in page.text and "https://" not in page.text


def test_cookie_is_sent_only_to_this_site_and_hidden_from_scripts(console):
    with console.client() as browser:
        flags = browser.post("/login", data=COORDINATOR).headers["set-cookie"].lower()
    assert "httponly" in flags and "samesite=strict" in flags and "domain" not in flags


def test_consoles_on_two_ports_do_not_replace_each_others_session(console):
    """Browsers send cookies to all ports of a host name. One process is reached as two."""
    one, two = ({"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"} for port in (7001, 7002))
    with httpx.Client(base_url=console.url, timeout=60) as browser:
        for headers in (one, two):
            assert browser.post("/login", data=COORDINATOR, headers=headers).status_code == 303
        browser.post("/logout", headers=two)
        assert [browser.get("/here", headers=headers).status_code for headers in (one, two)] == [204, 401]


def test_files_of_the_machine_and_api_listings_do_not_exist(console):
    with console.logged_in() as browser:
        for path in ("/docs", "/openapi.json", "/static/../../etc/passwd", "/web.css/../../texts.toml", "/monitoring"):
            assert browser.get(path).status_code == 404, path
        assert browser.put("/runs").status_code == browser.delete("/runs").status_code == 405


def test_hostile_uploads_are_rejected(console, listed):
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60_000).to_bytes(4) * 2 + b"\x08\x02\0\0\0" + b"\0" * 40_000
    files = {"embryo.svg": b"<svg onload=alert(1)>", "embryo.png": b"<html><script>alert(1)</script>", "bomb.png": bomb}
    with console.logged_in() as browser:
        for path in ("/invite", "/withdraw", "/runs/estimate", "/runs/start"):
            for name, data in files.items():
                response = browser.post(path, files={"files": (name, data, "image/png")})
                assert response.status_code == 400 and "alert(1)" not in response.text, path
            for data in (b"junk", b"a=b&" * 5000, b'{"name": "x"}'):
                kind = {"Content-Type": "multipart/form-data; boundary=x"}
                assert browser.post(path, content=data, headers=kind).status_code == 400, path


def test_body_that_is_too_large_or_without_a_length_is_not_read(console):
    with console.client() as stranger:
        assert stranger.post("/login", content=b"x" * 100_000).status_code == 413
        assert stranger.post("/login", content=iter([b"x" * 50_000] * 4)).status_code == 411


def test_console_listens_on_loopback_and_starts_nothing(console):
    process = psutil.Process(console.process.pid)
    assert {c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
    assert process.children() == []
    for arguments in (["serve", "--share"], ["--share", "serve"], ["serve", "share"]):
        done = subprocess.run([PROGRAM, *arguments], env=console.env, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "share" in done.stderr


def test_viewers_and_auditors_change_nothing(console, listed):
    """By no route that is added, either; the hub says the same of its own (tests/server/api/test_people.py)."""
    for role in ("viewer", "auditor"):
        with console.as_role(role) as browser:
            for method, path in listed - set(OPEN) - {("POST", path) for path in ("/logout", *OWN)}:
                response = browser.request(method, filled(path))
                assert (response.status_code == 403) == (method == "POST"), (role, method, path)
                assert method == "GET" or "H11" in response.text
            pages = {path: browser.get(path, follow_redirects=True).text for path in PAGES}
        assert [path for path, text in pages.items() if text.count('method="post"') != 1] == ["/account"]  # to log out
        assert all(f">{role}</p>" in text for text in pages.values())
        assert ("Verify audit log" in pages["/hub"]) == (role == "auditor")


def test_hub_is_asked_as_the_person_at_the_browser(console):
    with console.as_role("coordinator") as browser:
        assert "lisbon" in browser.post("/invite", data={"name": "lisbon", "days": "7"}).text
    assert [(e["clinic"], e["by"]) for e in audit(console.hub, "invited")] == [("lisbon", "coordinator")]


def test_command_acts_as_the_person_whose_password_is_given_or_as_the_operator(console):
    env = {"EMBRYOFL_STATE_DIR": str(console.hub.settings.state_dir), "EMBRYOFL_SERVER_ADDRESS": console.settings.hub}
    before = console.identities()

    def typed(*words: str, given: str = "") -> Result:
        return CliRunner().invoke(commands.app, words, input=given, env=env)

    assert typed("--as", "coordinator", "invite", "porto", given=f"{PASSWORD}\n").exit_code == 0
    assert typed("invite", "rome").exit_code == 0
    named, operator = audit(console.hub, "invited")[-2:]
    assert (named["clinic"], named["by"]) == ("porto", "coordinator (command line)")
    assert operator["clinic"] == "rome" and operator["by"].startswith("operator (")
    assert "viewer" in str(typed("--as", "viewer", "invite", "oslo", given=f"{PASSWORD}\n").exception)
    assert "H9" in str(typed("--as", "viewer", "clinics", given="guess\n").exception)
    assert console.identities() == before  # each command has ended its session
    made = typed("people", "add", "cleo", "--role", "auditor").output  # nothing is typed
    assert console.hub.people.log_in("cleo", made.split()[-1]) and "shown this once" in made
    assert typed("people", "add", "dora", "--role", "viewer", given=f"{PASSWORD}+\n").exit_code == 0
    assert console.hub.people.log_in("dora", f"{PASSWORD}+") and not console.hub.people.log_in("dora", PASSWORD)
    assert typed("people", "add", "emil", "--role", "king").exit_code == 2
    assert typed("people", "end-codes", "dora").exit_code == 0
    number = console.hub.people.sessions()[0].number  # of the login above
    assert f"{number} " in typed("people", "sessions").output
    assert "dora has ended" in typed("people", "end", str(number)).output
    for name in ("cleo", "dora"):
        assert typed("people", "disable", name).exit_code == 0
    listed = typed("people", "list").output
    assert "dora" in listed and "auditor" in listed


def test_session_of_a_disabled_person_ends_at_once(console):
    console.hub.people.add("bert", "viewer", PASSWORD)
    console.sessions["bert"] = console.hub.people.log_in("bert", PASSWORD)
    with console.as_role("bert") as browser:
        assert browser.get("/here").status_code == 204
        console.hub.people.disable("bert")
        assert browser.get("/here").status_code == 401
        assert browser.post("/login", data={"name": "bert", "password": PASSWORD}).status_code == 403


def test_account_is_ones_own_for_every_role(console):
    console.hub.people.add("dan", "viewer", PASSWORD)
    console.sessions["dan"] = console.hub.people.log_in("dan", PASSWORD)
    with console.as_role("dan") as browser:
        page = browser.post("/account/codes").text
        key = re.search(r'id="key"[^>]*>([A-Z2-7]{32})<', page)[1]
        code = TOTP(base64.b32decode(key), 6, SHA1(), 30, enforce_key_length=False).generate(int(time.time())).decode()
        assert key not in browser.get("/account").text  # shown once
        assert (
            "needs a one-time code"
            in browser.post("/account/codes/confirm", data={"code": code}, follow_redirects=True).text
        )
        dan = {"name": "dan", "password": PASSWORD}
        assert 'name="code"' in browser.get("/login").text and browser.post("/login", data=dan).status_code == 403
        assert "Require codes" not in browser.get("/account").text
        browser.post("/account/codes/end", data={"password": PASSWORD})
        assert not console.hub.people.all()["dan"].coded
        new = {"password": PASSWORD, "new": PASSWORD + "!", "again": PASSWORD}
        assert "differ" in browser.post("/account/password", data=new, follow_redirects=True).text
        assert browser.post("/account/password", data={**new, "again": new["new"]}).status_code == 303
        assert browser.get("/here").status_code == 401
        assert browser.post("/login", data={**dan, "password": new["new"]}).status_code == 303
        number = re.search(r'name="number" value="(\d+)"', browser.get("/account").text)[1]
        assert browser.post("/account/sessions/end", data={"number": number}).status_code == 303
        assert browser.get("/here").status_code == 401
    console.hub.people.disable("dan")


def test_names_are_asked_for_where_there_are_several_people(console):
    with console.client() as browser:
        assert 'name="name"' in browser.get("/login").text
        assert browser.post("/login", data={"password": PASSWORD}).status_code == 403


def test_right_password_is_rejected_after_ten_wrong_ones(console):
    """Must run last: logins stay closed for a minute. Existing sessions continue."""
    with console.logged_in() as inside, console.client() as other:
        statuses = [other.post("/login", data={"password": f"guess {n}"}).status_code for n in range(LOGINS.most + 1)]
        assert statuses[-1] == 429 and set(statuses) == {403, 429}
        assert other.post("/login", data=COORDINATOR).status_code == 429
        assert inside.get("/here").status_code == 204
