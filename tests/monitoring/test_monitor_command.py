"""`make monitor` reports what is missing and what to do."""

import base64
import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request

import pytest

from kits.federation import until
from kits.ports import free_port

pytestmark = pytest.mark.integration


def monitor(root, **env):
    return subprocess.run(
        ["bash", "scripts/monitor.sh"], cwd=root, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )


def test_monitor_names_the_package_without_prometheus(root, tmp_path):
    done = monitor(root, PROMETHEUS="prometheus-that-is-not-there", EMBRYOFL_MONITOR_DIR=str(tmp_path / "m"))
    assert done.returncode == 2 and "apt-get install prometheus" in done.stderr


def test_monitor_names_a_port_in_use(root, tmp_path):
    (tmp_path / "one" / "targets").mkdir(parents=True)
    (tmp_path / "one" / "targets" / "hub.json").write_text("[]")
    (tmp_path / "current").write_text("one")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = monitor(
            root,
            PROMETHEUS="true",
            EMBRYOFL_DEMO_DIR=str(tmp_path),
            EMBRYOFL_MONITOR_DIR=str(tmp_path / "m"),
            MONITOR_PORT=str(port),
        )
    assert done.returncode == 2 and f"Port {port} is in use" in done.stderr and not (tmp_path / "m").exists()


def test_monitor_explains_how_to_start_a_federation(root, tmp_path):
    done = monitor(root, PROMETHEUS="true", EMBRYOFL_DEMO_DIR=str(tmp_path), EMBRYOFL_MONITOR_DIR=str(tmp_path / "m"))
    assert done.returncode == 2 and "make demo KEEP=1" in done.stderr and not (tmp_path / "m").exists()


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's prometheus package")
def test_prometheus_of_monitor_shows_no_metrics_without_its_login(root, tmp_path):
    """It shows every clinic's metrics, and other users of this machine reach its port."""
    (tmp_path / "one" / "targets").mkdir(parents=True)
    (tmp_path / "one" / "targets" / "hub.json").write_text("[]")
    (tmp_path / "current").write_text("one")
    folder, port = tmp_path / "m", free_port()
    env = {"EMBRYOFL_DEMO_DIR": str(tmp_path), "EMBRYOFL_MONITOR_DIR": str(folder), "MONITOR_PORT": str(port)}

    def ask(password: str = "") -> int:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/query?query=up")
        if password:
            login = base64.b64encode(f"embryofl:{password}".encode()).decode()
            request.add_header("Authorization", f"Basic {login}")
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:  # it has not started yet
            return 0

    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(
            ["bash", "scripts/monitor.sh"], cwd=root, env={**os.environ, **env}, stdout=log, stderr=log
        )
    try:
        until("it answers", lambda: running.poll() is not None or ask())
        words = (folder / "prometheus-password").read_text().strip()
        assert ask() == ask("another") == 401
        until("it is ready", lambda: ask(words) == 200)
        assert folder.stat().st_mode & 0o077 == 0
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(30)
    assert words not in (tmp_path / "log").read_text() and "prometheus-password" in (tmp_path / "log").read_text()
