"""The printed command for Podman. Load its image first: docker save embryofl-clinic | podman load."""

import shutil
import subprocess

import pytest

from kits.federation import Federation, draw_clinic, until

NAME = "embryofl-test-podman"


def podman(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(["podman", *words], capture_output=True, text=True, timeout=120, check=False)


def why_not() -> str:
    if shutil.which("podman") is None:
        return "Podman is not installed"
    if podman("image", "exists", "embryofl-clinic").returncode:
        return "Podman has no image embryofl-clinic"
    probe = podman("run", "--rm", "--network", "host", "embryofl-clinic", "--help")
    return f"Podman runs no container here: {probe.stderr.strip()[-200:]}" if probe.returncode else ""


def test_clinic_joins_and_leaves_with_the_printed_podman_command(federation: Federation):
    if reason := why_not():
        pytest.skip(reason)
    data = draw_clinic(federation.place.data("podman-1"), "podman-1")
    for path in (federation.place.root, *data.parents, data):
        if str(path).startswith(str(federation.place.root.parents[1])):
            path.chmod(0o755)  # the container runs as another user
    sent = federation.hub("invite", "podman-1").stdout
    line = next(x for x in sent.splitlines() if x.startswith("podman run"))
    code = next(x for x in sent.splitlines() if x.startswith("embryofl1."))
    line = line.replace("/PATH/TO/IMAGES", str(data)).replace("--name embryofl", f"--name {NAME} --network host")
    line = line.replace("embryofl-state:", f"{NAME}:")  # leaves a real clinic on this machine alone
    line = line.replace("exec -i embryofl", f"exec -i {NAME}")
    try:
        done = subprocess.run(
            ["bash", "-c", line], input=code, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        until(
            "the clinic is online",
            lambda: federation.status()["clinics"].get("podman-1", {}).get("state") == "online",
            120,
        )
        status = podman("exec", NAME, "embryofl-clinic", "status")
        assert status.returncode == 0 and "takes part" in status.stdout, status.stderr
        left = podman("exec", NAME, "embryofl-clinic", "leave", "--yes")
        assert left.returncode == 0 and "has left" in left.stdout, left.stderr
    finally:
        print(podman("logs", NAME).stdout)
        podman("rm", "-f", NAME)
        podman("volume", "rm", NAME)
