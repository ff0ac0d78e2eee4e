"""Containers are killed, paused, disconnected and moved during a run, and the final weights are bit-identical to those of an
undisturbed run. Then the hub's state is lost and restored from a backup."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from kits.containers import PROJECT, Containers, run, until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1500)]
PARTS = ("server", "superlink", "gateway")
SETTINGS = {"batch_size": 16, "seed": 1, "rounds": 8}
NETWORK = f"{PROJECT}_clinics"
PASSPHRASE = "three clinics in one sum\n"


@pytest.fixture(scope="module")
def hub(federation: Containers) -> Containers:
    """The federation, up and idle. With one minimum clinic it does not wait for clinics that other tests have removed."""
    federation.up({"min_clinics": 1})
    federation.finished()
    return federation


def start(hub: Containers) -> str:
    """Start a run with all clinics of this machine; return its name."""
    local = {name for name in hub.containers() if name.startswith("clinic-")}
    until(
        "all clinics are online",
        lambda: {n for n, c in hub.status()["clinics"].items() if c["state"] == "online"} >= local,
    )
    return hub.start(**SETTINGS, min_clinics=len(local))


def model(hub: Containers, name: str) -> str:
    """SHA-256 of the model of a finished run in which every round has every clinic. (A clinic that was restarted has lost its
    keys for the masks, leaves the attempt and is in the next one.)"""
    hub.finished(400)
    lines = hub.inside("server", "cat", f"/hub/runs/{name}/events.jsonl").splitlines()
    rounds = [event for event in map(json.loads, lines) if event["kind"] == "round"]
    assert rounds and all(event["refused"] == {} for event in rounds), rounds
    return str(json.loads(hub.inside("server", "cat", f"/hub/runs/{name}/model.json"))["sha256"])


@pytest.fixture(scope="module")
def reference(hub: Containers) -> str:
    """The model of an undisturbed run."""
    return model(hub, start(hub))


def under_way(hub: Containers, name: str, round_: int) -> None:
    def ready() -> bool:
        info = hub.status()
        assert info["run"]["name"] == name and info["run"]["state"] not in ("finished", "failed"), info["run"]
        return info["progress"]["round"] >= round_ and info["progress"]["phase"] == "training"

    until(f"round {round_} is under way", ready)


def kill(hub: Containers, *services: str) -> None:
    """`docker kill`, after which the engine does not restart a container, and `docker start` at once."""
    ids = [hub.container(s) for s in services]
    run("docker", "kill", "-s", "KILL", *ids)
    run("docker", "start", *ids)


def test_containers_killed_one_after_another_and_all_at_once_leave_the_weights_unchanged(
    hub: Containers, reference: str
) -> None:
    name = start(hub)
    for round_, part in enumerate(("clinic-2", *PARTS), 1):
        under_way(hub, name, round_)
        kill(hub, part)
        until("the hub is back", lambda: name in hub.inside("server", "embryofl-server", "runs", ok=False))
    under_way(hub, name, 6)
    kill(hub, "clinic-1", "clinic-2", "clinic-3", *PARTS)
    until("the hub is back", lambda: name in hub.inside("server", "embryofl-server", "runs", ok=False))
    assert model(hub, name) == reference


@pytest.fixture
def network() -> Iterator[Any]:
    """`network(verb, container, ...)`: connect to or disconnect from the clinics' network."""
    yield lambda verb, container, *options: run("docker", "network", verb, *options, NETWORK, container)


def pause(container: str) -> None:
    """Where a control group (version 1) is busy, runc now and then fails to freeze it, and asks for another try."""
    until("the container is paused", lambda: "Error" not in run("docker", "pause", container, ok=False))


def test_paused_and_disconnected_clinics_return_after_counting_as_offline(
    hub: Containers, reference: str, network: Any
) -> None:
    name = start(hub)
    under_way(hub, name, 2)
    asleep, cut = hub.container("clinic-3"), hub.container("clinic-2")
    pause(asleep)
    network("disconnect", cut)
    try:
        until(  # which takes 20 s of silence
            "both count as offline",
            lambda: {hub.status()["clinics"][n]["state"] for n in ("clinic-2", "clinic-3")} == {"offline"},
        )
    finally:
        network("connect", cut)
        run("docker", "unpause", asleep)
    assert model(hub, name) == reference
    assert hub.container("clinic-2") == cut


def test_clinics_follow_the_gateway_to_another_address(hub: Containers, reference: str, network: Any) -> None:
    gateway = hub.container("gateway")

    def address() -> str:
        return str(hub.containers()["gateway"]["NetworkSettings"]["Networks"][NETWORK]["IPAddress"])

    name, before = start(hub), address()
    under_way(hub, name, 2)
    network("disconnect", gateway)
    holder = run(
        "docker", "run", "-d", "--rm", "--network", NETWORK, "--entrypoint", "sleep", "embryofl-gateway", "600"
    ).strip()
    try:
        network("connect", gateway, "--alias", "gateway")
        assert address() != before
        assert model(hub, name) == reference
    finally:
        run("docker", "rm", "-f", holder)


def test_lost_hub_is_restored_from_a_backup_during_a_run(hub: Containers, reference: str, tmp_path: Any) -> None:
    file = tmp_path / "hub.age"
    clinics = {n: c["Id"] for n, c in hub.containers().items() if n.startswith("clinic-")}
    enrolled = hub.audit("enrolled")
    name = start(hub)
    under_way(hub, name, 3)
    words = hub.make("backup", stdin=PASSPHRASE, FILE=file)
    assert "encrypted to the passphrase" in words and file.stat().st_mode & 0o777 == 0o600
    assert "hub is running here" in hub.make("restore", stdin=PASSPHRASE, ok=False, FILE=file)
    for part in (*PARTS, "console", "signer"):
        run("docker", "rm", "-f", hub.container(part))
    for volume in (
        "hub",
        "identity-superlink",
        "identity-gateway",
        "identity-console",
        "identity-notifier",
        "weights",
        "signer",
        "signer-socket",
    ):
        run("docker", "volume", "rm", f"{PROJECT}_{volume}")

    words = hub.make("restore", stdin=PASSPHRASE, FILE=file, REVOKED="none")
    assert "Restored" in words and name in words and f"http://localhost:{hub.console_port}" in words
    assert "password (shown" not in words  # people keep theirs
    assert model(hub, name) == reference
    assert {n: c["Id"] for n, c in hub.containers().items() if n.startswith("clinic-")} == clinics
    assert hub.audit("enrolled") == enrolled and "intact" in hub.hub("audit", "verify")
