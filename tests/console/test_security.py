"""The console's door: nothing without login, nothing for other sites, other names of the host, uploads or shares."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from embryofl_console.door import MOST_TRIES, Door, new_password
from embryofl_server.identity import Identity

PROGRAM = Path(sys.prefix) / "console" / "bin" / "embryofl-console"
GRADIO = [
    "/config", "/theme.css", "/gradio_api/info", "/gradio_api/file=/etc/passwd", "/gradio_api/startup-events",
    "/gradio_api/queue/data?session_hash=x", "/gradio_api/heartbeat/x", "/assets/x.js", "/static/img/logo.svg",
    "/console.js", "/gradio_api/app_id", "/gradio_api/proxy=https://example.org", "/anything",
]  # fmt: skip
UPLOADS = ["/gradio_api/upload", "/upload", "/gradio_api/queue/join", "/gradio_api/run/tick", "/gradio_api/stream/x"]


class Console:
    """A real process, with a hub that is away."""

    def __init__(self, root: Path) -> None:
        Identity(root / "identity", ["localhost"])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        env = {
            **os.environ, "EMBRYOFL_CONSOLE_PORT": str(port), "EMBRYOFL_CONSOLE_HUB": "127.0.0.1:1",
            "EMBRYOFL_CONSOLE_IDENTITY": str(root / "identity"), "EMBRYOFL_CONSOLE_STATE": str(root / "state"),
        }  # fmt: skip
        made = [
            subprocess.run([PROGRAM, "password"], env=env, capture_output=True, text=True, check=True).stdout
            for _ in "12"
        ]
        self.password, self.again = made[0].strip(), made[1].strip()
        self.url, self.state = f"http://127.0.0.1:{port}", root / "state"
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
        with self.client() as found:
            assert found.post("/login", data={"password": self.password}).status_code == 303
            yield found


@pytest.fixture(scope="module")
def console(tmp_path_factory):
    found = Console(tmp_path_factory.mktemp("console"))
    yield found
    found.process.terminate()
    found.process.wait(20)


def test_without_login_nothing_is_served(console):
    with console.client() as nobody:
        assert nobody.get("/").headers["location"] == "/login"
        for path in GRADIO:
            assert nobody.get(path).status_code == 401, path
        for path in UPLOADS:
            assert nobody.post(path, content=b"x").status_code == 401, path
        for session in ("guessed", "", "a; b=c"):
            assert nobody.get("/config", headers={"Cookie": f"embryofl_console={session}"}).status_code == 401


def test_the_password_opens_it_and_logging_out_ends_the_session(console):
    with console.logged_in() as found:
        page = found.get("/")
        assert page.status_code == 200 and "gradio" in page.text
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert "access-control-allow-origin" not in page.headers
        assert "https://fonts" not in page.text + found.get("/theme.css").text
        cookie = dict(found.cookies)
        found.get("/logout")
        assert (
            found.get("/config", headers={"Cookie": f"embryofl_console={cookie['embryofl_console']}"}).status_code
            == 401
        )


def test_the_cookie_is_for_this_site_and_not_for_scripts(console):
    with console.client() as found:
        flags = found.post("/login", data={"password": console.password}).headers["set-cookie"].lower()
    assert "httponly" in flags and "samesite=strict" in flags and "domain" not in flags


def test_other_sites_and_other_names_of_this_host_are_refused(console):
    with console.logged_in() as found:
        for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            assert found.post("/gradio_api/queue/join", json={}, headers=headers).status_code == 403, headers
            assert found.get("/config", headers=headers).status_code == 403, headers
        del found.headers["Origin"]
        assert found.post("/gradio_api/queue/join", json={}).status_code == 403
        for host in ("evil.example", "evil.example:7860", "localhost.evil.example:80", ""):
            assert found.get("/", headers={"Host": host}).status_code == 421, host


def test_there_is_no_upload_no_file_and_no_listing_of_the_api_beyond_what_a_page_needs(console):
    with console.logged_in() as found:
        svg = {"files": ("embryo.png", b"<svg onload=alert(1)>", "image/svg+xml")}
        assert found.post("/gradio_api/upload", files=svg).status_code == 404
        assert found.post("/gradio_api/queue/join", content=b"x" * 100_000).status_code == 413
        for path in ("/gradio_api/file=/etc/passwd", "/gradio_api/proxy=https://example.org", "/monitoring",
                     "/static/../../etc/passwd", "/gradio_api/openapi.json", "/gradio_api/deep_link"):  # fmt: skip
            assert found.get(path).status_code == 404, path
        assert found.put("/config").status_code == 405


def test_guessing_is_slowed_down(tmp_path):
    password = new_password(tmp_path / "password")
    door = Door(tmp_path / "password")
    assert door.knows(door.enter(password)) and not door.too_many()
    for _ in range(MOST_TRIES):
        assert door.enter("guess") == ""
    assert door.too_many()


def test_only_a_hash_of_the_password_is_kept_and_it_is_told_once(console):
    file = console.state / "password"
    assert console.password and console.again == ""
    assert console.password not in file.read_text() and file.stat().st_mode & 0o077 == 0
