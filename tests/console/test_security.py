"""The console's access control: login, other sites, other host names, uploads."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from embryofl_console.app import create_app
from embryofl_console.hub import HubClient
from embryofl_console.login_sessions import MOST_TRIES, LoginSessions, new_password
from embryofl_console.settings import ConsoleSettings
from embryofl_server.members.identity import HubIdentity
from kits.console_routes import filled, routes

pytestmark = pytest.mark.integration  # a real console

PROGRAM = Path(sys.executable).with_name("embryofl-console")
# Every route: one that is added must be added here, too, and so is tested below.
PAGES = ["/", "/clinics", "/clinic", "/runs", "/compare", "/results", "/hub"]
POSTS = [
    "/invite",
    "/withdraw",
    "/clinic/{action}",
    "/local/{action}",
    "/runs/estimate",
    "/runs/start",
    "/runs/{action}",
    "/logout",
]
OTHERS = ["/card", "/download/{run}/{name}", "/here", "/web.js"]
OPEN = {("GET", "/login"): 200, ("POST", "/login"): 403, ("GET", "/web.css"): 200, ("GET", "/healthz"): 200}
ALL = {*OPEN, *(("GET", path) for path in PAGES + OTHERS), *(("POST", path) for path in POSTS)}


class Console:
    """A real console process whose hub is unreachable."""

    def __init__(self, root: Path) -> None:
        HubIdentity(root / "identity", ["localhost"])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.settings = ConsoleSettings(
            port=port, hub="127.0.0.1:1", identity=root / "identity" / "console", state=root / "state"
        )
        given = self.settings.model_dump(include={"port", "hub", "identity", "state"})
        self.env = {**os.environ, **{f"EMBRYOFL_CONSOLE_{name.upper()}": str(value) for name, value in given.items()}}
        made = [
            subprocess.run([PROGRAM, "password"], env=self.env, capture_output=True, text=True, check=True).stdout
            for _ in "12"
        ]
        self.password, self.again = made[0].strip(), made[1].strip()
        self.url, self.state = f"http://127.0.0.1:{port}", root / "state"
        self.cookie = f"embryofl_console_{port}"
        self.process = subprocess.Popen([PROGRAM, "serve"], env=self.env)
        end = time.monotonic() + 120
        while True:
            try:
                httpx.get(f"{self.url}/healthz")
                break
            except httpx.HTTPError:
                assert self.process.poll() is None and time.monotonic() < end
                time.sleep(0.1)

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Origin": self.url})

    @contextmanager
    def logged_in(self) -> Iterator[httpx.Client]:
        with self.client() as browser:
            assert browser.post("/login", data={"password": self.password}).status_code == 303
            yield browser


@pytest.fixture(scope="module")
def console(tmp_path_factory):
    running = Console(tmp_path_factory.mktemp("console"))
    yield running
    running.process.terminate()
    running.process.wait(20)


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
        flags = browser.post("/login", data={"password": console.password}).headers["set-cookie"].lower()
    assert "httponly" in flags and "samesite=strict" in flags and "domain" not in flags


def test_consoles_on_two_ports_do_not_replace_each_others_session(console):
    """Browsers send cookies to all ports of a host name. One process is reached as two."""
    one, two = ({"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"} for port in (7001, 7002))
    with httpx.Client(base_url=console.url) as browser:
        for headers in (one, two):
            assert browser.post("/login", data={"password": console.password}, headers=headers).status_code == 303
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


def test_guessing_passwords_is_slowed_down(tmp_path):
    password = new_password(tmp_path / "password")
    sessions = LoginSessions(tmp_path / "password")
    assert sessions.is_valid(sessions.log_in(password)) and not sessions.too_many()
    for _ in range(MOST_TRIES):
        assert sessions.log_in("guess") == ""
    assert sessions.too_many()


def test_new_password_ends_all_sessions(tmp_path):
    first = new_password(tmp_path / "password")
    sessions = LoginSessions(tmp_path / "password")
    session = sessions.log_in(first)
    second = new_password(tmp_path / "password")
    assert (
        not sessions.is_valid(session) and sessions.log_in(first) == "" and sessions.is_valid(sessions.log_in(second))
    )
    (tmp_path / "password").unlink()
    assert not sessions.has_password() and sessions.log_in(second) == sessions.log_in("") == ""


def test_password_is_printed_once_and_stored_as_a_hash(console):
    file = console.state / "password"
    assert console.password and console.again == ""
    assert console.password not in file.read_text() and file.stat().st_mode & 0o077 == 0


def test_right_password_is_rejected_after_ten_wrong_ones(console):
    """Must run last: logins stay closed for a minute. Existing sessions continue."""
    with console.logged_in() as inside, console.client() as other:
        statuses = [other.post("/login", data={"password": f"guess {n}"}).status_code for n in range(MOST_TRIES + 1)]
        assert statuses[-1] == 429 and set(statuses) == {403, 429}
        assert other.post("/login", data={"password": console.password}).status_code == 429
        assert inside.get("/here").status_code == 204
