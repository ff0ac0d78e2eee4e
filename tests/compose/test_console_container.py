"""The console of `make up`: behind a password that is printed once, with access to the hub and to nothing else."""

import json
import re
import shutil
from contextlib import closing

import httpx
import pytest

from kits.containers import PROJECT, run

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1500)]
SHOWN = re.compile(r"Console: (http://localhost:\d+), .*shown this once.*: ([\w-]{20,})$", re.M)


@pytest.fixture(scope="module")
def address(federation):
    return f"http://localhost:{federation.console_port}"


@pytest.fixture(scope="module")
def password(federation, address):
    """The password, which `make up` printed once."""
    ((shown, word),) = SHOWN.findall(federation.first_words)
    assert shown == address and federation.first_words.count(word) == 1
    return word


def enter(address, word):
    """A client that has tried to log in, and the status of the response."""
    client = httpx.Client(base_url=address, headers={"Origin": address}, timeout=30)
    return client, client.post("/login", data={"password": word}).status_code


def test_only_the_login_page_is_served_without_the_password(address, password):
    client, status = enter(address, "x" + password)
    with closing(client):
        assert status == 403 and client.get("/").headers["location"] == "/login"
        assert client.get("/hub").status_code == 401 and "password" in client.get("/login").text


def test_console_shows_this_federation(federation, address, password):
    api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium here (Debian: apt-get install chromium)")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{address}/login")
        page.fill("#password", password)
        page.get_by_role("button").click()
        run = federation.status()["run"]
        for word in (run["name"], run["updates"], "clinic-1", "clinic-3"):
            api.expect(page.get_by_text(word).first).to_be_visible(timeout=60_000)
        browser.close()


def test_console_holds_the_control_token_and_no_key(federation):
    mounts = {m["Destination"]: m["RW"] for m in federation.containers()["console"]["Mounts"]}
    assert mounts == {"/identity": False}
    assert federation.inside("console", "ls", "-A", "/identity").split() == [
        "control.token",
        "internal.crt",
        "sessions.json",
    ]
    assert "Read-only file system" in federation.inside("console", "sh", "-c", "echo >/identity/x", ok=False)
    code = "import importlib.util as u; print([m for m in ('torch', 'flwr', 'embryofl_server') if u.find_spec(m)])"
    assert federation.python("console", code).strip() == "[]"


def test_console_reaches_the_hub_and_nothing_outside_its_networks(federation):
    inside = federation.containers()
    assert set(inside["console"]["NetworkSettings"]["Networks"]) == {f"{PROJECT}_hub", f"{PROJECT}_counter"}
    targets = [("prometheus-desk", 9090), ("grafana", 3000), ("clinic-1", 9101), ("192.0.2.1", 443), ("1.1.1.1", 53)]
    for part, ports in {
        "gateway": (8443,),
        "prometheus": (9090,),
        "grafana": (3000,),
        "clinic-1": (9101, 7870),
    }.items():
        for name, network in inside[part]["NetworkSettings"]["Networks"].items():
            if name != f"{PROJECT}_hub":
                targets += [(network["IPAddress"], port) for port in ports]
    assert federation.reached("console", [("server", 9000), *targets]) == [("server", 9000)]


def test_no_other_container_reaches_the_console(federation):
    networks = federation.containers()["console"]["NetworkSettings"]["Networks"].values()
    hosts = ["console", "console-counter", *(n["IPAddress"] for n in networks)]
    own = ("server", 9000)
    assert federation.reached("superlink", [own, *((host, 7860) for host in hosts)], 5) == [own]


def test_console_password_is_stored_nowhere_in_plain_text(federation, password):
    where = {
        "inspect": json.dumps(federation.containers()),
        "logs": federation.make("logs", TAIL=1000),
        "volume": federation.inside("console", "cat", "/identity/sessions.json"),
        "database": federation.inside("server", "sh", "-c", "cat /hub/clinics.db* | tr -cd '[:print:]'"),
        "environment": federation.inside("console", "sh", "-c", "tr '\\0' '\\n' </proc/1/environ; env"),
        "processes": run("ps", "-eo", "args"),
        "files": run("sh", "-c", f"cat {federation.environment['EMBRYOFL_COMPOSE_DIR']}/*"),
    }
    assert [name for name, text in where.items() if password in text] == []
    assert "$argon2id$" in where["database"]


def test_new_password_ends_sessions_of_the_old_one(federation, address, password):
    before, status = enter(address, password)
    with closing(before):
        assert status == 303 and before.get("/hub").status_code == 200
        ((_, another),) = SHOWN.findall(federation.make("console-password"))
        assert before.get("/hub").status_code == 401
    for word, expected in ((password, 403), (another, 303)):
        client, status = enter(address, word)
        client.close()
        assert status == expected
