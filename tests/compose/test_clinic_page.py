"""`make app`: the app of a clinic in a container, opened from the host."""

import json
import os
import re
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from kits.browser import CHROMIUM, browser_page, enter
from kits.containers import PROJECT, ROOT, run, until
from kits.ports import free_port

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]
NAME = f"{PROJECT}-app-clinic-1"


@pytest.fixture
def page(federation):
    """Address and link of clinic-1's app, once it has the model of the first run."""
    card, port = f"/state/models/{federation.first_run['name']}/model.json", free_port()
    until("the model is at the clinic", lambda: '"sha256"' in federation.inside("clinic-1", "cat", card, ok=False))
    words = ["make", "--no-print-directory", "app", "CLINIC=clinic-1", f"APP_PORT={port}"]
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        env={**os.environ, **federation.environment},
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        line = process.stdout.readline()
        assert f"http://127.0.0.1:{port}/enter?token=" in line, line + process.stdout.read()
        yield f"http://127.0.0.1:{port}", line.rsplit(" ", 1)[-1].strip()
    finally:
        run("docker", "stop", "-t", "5", NAME, ok=False)
        process.wait(30)


def status_of(address, **headers):
    """The status code of the response to a GET request."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=10) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium package")
def test_clinic_app_in_a_container_is_reachable_from_this_machine_only_and_scores_a_cohort(federation, page, tmp_path):
    base, link = page
    (inspected,) = json.loads(run("docker", "inspect", NAME))
    host = inspected["HostConfig"]
    assert {p["HostIp"] for ports in host["PortBindings"].values() for p in ports} == {"127.0.0.1"}
    assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and inspected["Config"]["User"] == "10001:10001"
    assert {m["Destination"]: m["RW"] for m in inspected["Mounts"]} == {"/state": True, "/data": False}
    # the app is not public: no outgoing traffic, nothing without the link, nothing under another host name
    (network,) = inspected["NetworkSettings"]["Networks"]
    (options,) = json.loads(run("docker", "network", "inspect", network, "--format", "[{{json .Options}}]"))
    assert options["com.docker.network.bridge.enable_ip_masquerade"] == "false"
    assert status_of(base) == status_of(f"{base}/score") == 401
    assert status_of(base, Host="embryofl.example") == 421
    assert link.split("token=")[1] not in json.dumps(inspected)
    images = federation.inside("clinic-1", "sh", "-c", "cd /data/images && ls | head -4").split()
    files = []
    for number, name in enumerate(images):
        files.append(str(tmp_path / f"E{number + 1}{Path(name).suffix}"))
        run("docker", "cp", f"{federation.container('clinic-1')}:/data/images/{name}", files[-1])
    with browser_page() as shown:
        assert enter(shown, link) == base
        shown.goto(f"{base}/score")
        shown.get_by_label("Images of the cohort").set_input_files(files)
        shown.get_by_label("Model").select_option(federation.first_run["name"])
        shown.get_by_role("button", name="Score").click()
        shown.wait_for_url("**/scored/2*")
        words = shown.inner_text("main")
        # the model was trained by this federation, and its scores are explained
        assert len(re.findall(r"Of 100 embryos scored like this, about \d+ were graded good", words)) == 4
        assert shown.evaluate("[...document.querySelectorAll('main img')].filter((i) => i.naturalWidth).length") == 8
        shown.goto(f"{base}/sent")
        assert "round 3" in shown.inner_text("main")
    assert status_of(link) == 403  # the link works only once
    logs = run("docker", "logs", NAME)  # two links, the second for the next login, and no name of a scored file
    assert logs.count("token=") == 2 and not any(Path(file).name in logs for file in files), logs
    (record,) = federation.inside("clinic-1", "sh", "-c", "cat /state/scored/*.json").split("\n}\n{")
    assert json.loads(record)["images"] == {}


def test_unknown_clinic_and_port_in_use_are_reported(federation):
    words = federation.make("app", ok=False, CLINIC="berlin")
    assert "CLINIC=berlin is not a clinic on this machine" in words and "clinic-1" in words
    assert "is in use" in federation.make("app", ok=False, CLINIC="clinic-1", APP_PORT=federation.port)
