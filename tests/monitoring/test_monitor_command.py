"""`make monitor` reports what is missing and what to do."""

import os
import socket
import subprocess


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
