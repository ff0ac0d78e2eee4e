"""The console's access control: login, other sites, other host names, uploads, shares."""

import json
import os
import re
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

from embryofl_console import login_sessions
from embryofl_console.login_sessions import MOST_TRIES, LoginSessions, new_password
from embryofl_server.members.identity import HubIdentity
from kits import KITS

pytestmark = pytest.mark.federation  # a real console

PROGRAM = Path(sys.prefix) / "console" / "bin" / "embryofl-console"
GRADIO = [
    "/config",
    "/theme.css",
    "/gradio_api/info",
    "/gradio_api/file=/etc/passwd",
    "/gradio_api/startup-events",
    "/gradio_api/queue/data?session_hash=x",
    "/gradio_api/heartbeat/x",
    "/assets/x.js",
    "/static/img/logo.svg",
    "/console.js",
    "/gradio_api/app_id",
    "/gradio_api/proxy=https://example.org",
    "/anything",
]
# The routes that a Gradio page without files needs, and the console's own.
NEEDED = {
    "/",
    "/config",
    "/config/",
    "/theme.css",
    "/favicon.ico",
    "/manifest.json",
    "/assets/{path:path}",
    "/static/{path:path}",
    "/login",
    "/login.css",
    "/logout",
    "/healthz",
    "/here",
    "/console.css",
    "/console.js",
    "/gradio_api/info",
    "/gradio_api/info/",
    "/gradio_api/startup-events",
    "/gradio_api/theme.css",
    "/gradio_api/heartbeat/{session_hash}",
    "/gradio_api/queue/join",
    "/gradio_api/queue/data",
    "/gradio_api/run/{api_name}",
    "/gradio_api/run/{api_name}/",
    "/gradio_api/reset",
    "/gradio_api/reset/",
    "/gradio_api/cancel",
}
# Settings that Gradio reads from the environment and the console must ignore.
SWITCHES = {
    "GRADIO_SHARE": "1",
    "GRADIO_SERVER_NAME": "0.0.0.0",
    "GRADIO_ALLOWED_PATHS": "/etc",
    "GRADIO_MCP_SERVER": "True",
}
UPLOADS = ["/gradio_api/upload", "/upload", "/gradio_api/queue/join", "/gradio_api/run/tick", "/gradio_api/stream/x"]


class Console:
    """A real console process whose hub is unreachable."""

    def __init__(self, root: Path) -> None:
        HubIdentity(root / "identity", ["localhost"])
        self.temporary = root / "gradio"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.env = env = {
            **os.environ,
            "EMBRYOFL_CONSOLE_PORT": str(port),
            "EMBRYOFL_CONSOLE_HUB": "127.0.0.1:1",
            "EMBRYOFL_CONSOLE_IDENTITY": str(root / "identity" / "console"),
            "EMBRYOFL_CONSOLE_STATE": str(root / "state"),
            "GRADIO_TEMP_DIR": str(self.temporary),
            **SWITCHES,
        }
        made = [
            subprocess.run([PROGRAM, "password"], env=env, capture_output=True, text=True, check=True).stdout
            for _ in "12"
        ]
        self.password, self.again = made[0].strip(), made[1].strip()
        self.url, self.state = f"http://127.0.0.1:{port}", root / "state"
        self.cookie = f"embryofl_console_{port}"
        self.process = subprocess.Popen([PROGRAM, "serve"], env=env)
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


def test_nothing_is_served_without_login(console):
    with console.client() as stranger:
        assert stranger.get("/").headers["location"] == "/login"
        for path in GRADIO:
            assert stranger.get(path).status_code == 401, path
        for path in UPLOADS:
            assert stranger.post(path, content=b"x").status_code == 401, path
        for session in ("guessed", "", "a; b=c"):
            assert stranger.get("/config", headers={"Cookie": f"{console.cookie}={session}"}).status_code == 401


def test_password_opens_the_console_and_logging_out_ends_the_session(console):
    with console.logged_in() as browser:
        page = browser.get("/")
        assert page.status_code == 200 and "gradio" in page.text
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert "access-control-allow-origin" not in page.headers
        assert "https://fonts" not in page.text + browser.get("/theme.css").text
        cookie = dict(browser.cookies)
        browser.get("/logout")
        again = {"Cookie": f"{console.cookie}={cookie[console.cookie]}"}
        assert browser.get("/config", headers=again).status_code == 401


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
        browser.get("/logout", headers=two)
        assert [browser.get("/here", headers=headers).status_code for headers in (one, two)] == [204, 401]


def test_requests_from_other_sites_or_for_other_host_names_are_rejected(console):
    with console.logged_in() as browser:
        for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            assert browser.post("/gradio_api/queue/join", json={}, headers=headers).status_code == 403, headers
            assert browser.get("/config", headers=headers).status_code == 403, headers
        del browser.headers["Origin"]
        assert browser.post("/gradio_api/queue/join", json={}).status_code == 403
        for host in ("evil.example", "evil.example:7860", "localhost.evil.example:80", ""):
            assert browser.get("/", headers={"Host": host}).status_code == 421, host


def test_uploads_files_and_api_listings_do_not_exist(console):
    with console.logged_in() as browser:
        svg = {"files": ("embryo.png", b"<svg onload=alert(1)>", "image/svg+xml")}
        assert browser.post("/gradio_api/upload", files=svg).status_code == 404
        assert browser.post("/gradio_api/queue/join", content=b"x" * 100_000).status_code == 413
        for path in (
            "/gradio_api/file=/etc/passwd",
            "/gradio_api/proxy=https://example.org",
            "/monitoring",
            "/static/../../etc/passwd",
            "/gradio_api/openapi.json",
            "/gradio_api/deep_link",
        ):
            assert browser.get(path).status_code == 404, path
        assert browser.put("/config").status_code == 405


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


@pytest.fixture(scope="module")
def routes(console):
    """All routes of the application, including Gradio's: methods, and paths with the names of their parameters."""
    script = KITS / "console_routes.py"
    done = subprocess.run(
        [PROGRAM.with_name("python"), script], env=console.env, capture_output=True, text=True, check=True
    )
    listed = [(method, path) for methods, path in map(json.loads, done.stdout.splitlines()) for method in methods]
    assert len(listed) > 60 and ("POST", "/gradio_api/upload") in listed and ("POST", "/login") in listed
    return listed


def filled(path):
    return re.sub(r"{[^}]+}", "x", path)


def test_every_route_of_gradio_needs_a_login(console, routes):
    with console.client() as stranger:
        statuses = {(m, p): stranger.request(m, filled(p)).status_code for m, p in routes}
    opened = {("GET", "/login"): 200, ("POST", "/login"): 403, ("GET", "/login.css"): 200, ("GET", "/healthz"): 200}
    to_login = {("GET", "/"): 303, ("HEAD", "/"): 303}
    assert {a: s for a, s in statuses.items() if s != 401} == {**opened, **to_login}


def test_login_opens_the_routes_that_a_page_needs_and_no_others(console, routes):
    with console.logged_in() as browser:
        others = {(m, p) for m, p in routes if p not in NEEDED}
        assert len(others) > 40
        statuses = {a: browser.request(a[0], filled(a[1])).status_code for a in others}
        assert {a: s for a, s in statuses.items() if s != 404} == {}
        assert browser.get("/here").status_code == 204


def test_hostile_uploads_are_rejected(console):
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60_000).to_bytes(4) * 2 + b"\x08\x02\0\0\0" + b"\0" * 40_000
    files = {"embryo.svg": b"<svg onload=alert(1)>", "embryo.png": b"<html><script>alert(1)</script>", "bomb.png": bomb}
    with console.logged_in() as browser:
        for name, data in files.items():
            for path in ("/gradio_api/upload", "/upload", "/gradio_api/process_recording"):
                assert browser.post(path, files={"files": (name, data, "image/png")}).status_code == 404
        for number in range(8):  # a file on this machine instead of a text
            body = {
                "fn_index": number,
                "session_hash": "x",
                "data": [{"path": "/etc/passwd", "orig_name": "x.png", "meta": {"_type": "gradio.FileData"}}] * 3,
            }
            assert "root:" not in browser.post("/gradio_api/run/predict", json=body).text
    assert not [p for p in console.temporary.rglob("*") if p.is_file()]


def test_body_that_is_too_large_or_without_a_length_is_not_read(console):
    with console.client() as stranger:
        assert stranger.post("/login", content=b"x" * 100_000).status_code == 413
        assert stranger.post("/login", content=iter([b"x" * 50_000] * 4)).status_code == 411


def test_other_site_can_neither_log_in_nor_log_out(console):
    with console.logged_in() as browser:
        evil = {"Origin": "http://evil.example"}
        assert browser.post("/login", data={"password": console.password}, headers=evil).status_code == 403
        assert browser.get("/logout", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert browser.get("/here").status_code == 204


def test_only_gradios_scripts_are_allowed_to_run(console):
    with console.logged_in() as browser:
        page = browser.get("/", headers={"Accept-Encoding": "gzip, br"})
        (scripts,) = [d for d in page.headers["content-security-policy"].split("; ") if d.startswith("script-src")]
        assert "sha256-" in scripts and "unsafe-inline" not in scripts and "http" not in scripts
        login = browser.get("/login").headers["content-security-policy"]
        assert "script-src 'self';" in login


def test_no_environment_variable_of_gradio_shares_the_console(console):
    """Neither the environment (`SWITCHES`) nor an argument nor the code opens a tunnel or another address."""
    process = psutil.Process(console.process.pid)
    assert {c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
    assert process.children() == []
    with console.logged_in() as browser:
        config = browser.get("/config").json()
        assert not config.get("share_url") and not config.get("mcp_server")
    for arguments in (["serve", "--share"], ["--share", "serve"], ["serve", "share"]):
        done = subprocess.run([PROGRAM, *arguments], env=console.env, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "share" in done.stderr
    package = Path(login_sessions.__file__).parent
    code = "".join(p.read_text() for p in package.rglob("*.py"))
    assert "gr.Blocks(" in code and ".launch(" not in code and "share=True" not in code


def test_right_password_is_rejected_after_ten_wrong_ones(console):
    """Must run last: logins stay closed for a minute. Existing sessions continue."""
    with console.logged_in() as inside, console.client() as other:
        statuses = [other.post("/login", data={"password": f"guess {n}"}).status_code for n in range(MOST_TRIES + 1)]
        assert statuses[-1] == 429 and set(statuses) == {403, 429}
        assert other.post("/login", data={"password": console.password}).status_code == 429
        assert inside.get("/here").status_code == 204
