"""A clinic that was away returns without any action at the hub, and the run's weights stay the same.

Each test disturbs a run of four rounds and compares its model with that of the undisturbed run (`reference`).
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kits.federation import Federation, until
from kits.line import Line

PATIENT = {"rounds": 4, "round_deadline_s": 300}


def same_weights(federation: Federation, name: str, reference: Path) -> None:
    run = federation.wait_over(name)
    assert run["state"] == "finished" and run["reason"] == "", (run, federation.logs())
    assert (federation.folder(name) / "model.safetensors").read_bytes() == (
        reference / "model.safetensors"
    ).read_bytes()
    assert [r["refused"] for r in federation.records(name)] == [{}] * 5


class Far:
    """clinic-3, connected by a line to the hub's current address."""

    def __init__(self, federation: Federation, folder: Path) -> None:
        self._port, self._file = federation.port, folder / "address"
        self.move("127.0.0.2")
        federation.restart("clinic-3", ODD_ADDRESS_FILE=str(self._file))

    def move(self, address: str) -> None:
        """Give the hub another address under the same name; nothing listens at the old one."""
        if hasattr(self, "line"):
            self.line.close()
        self.line = Line(self._port, address)
        self._file.write_text(address)


@pytest.fixture(scope="module")
def far(federation: Federation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    clinic = Far(federation, tmp_path_factory.mktemp("far"))
    yield clinic
    federation.restart("clinic-3")
    clinic.line.close()


@pytest.mark.slow
def test_sleeping_and_disconnected_clinics_return_after_counting_as_offline(federation, reference, far):
    """clinic-2's machine sleeps (SIGSTOP) and clinic-3's connection is dead, at the same time, during a round."""
    name = federation.start_run(**PATIENT)
    federation.under_way(name, 2)
    sleeper = federation.pid("clinic-2")
    far.line.down = True
    os.kill(sleeper, signal.SIGSTOP)
    try:

        def gone() -> dict:
            status = federation.status()
            states = {status["clinics"][n]["state"] for n in ("clinic-2", "clinic-3")}
            return status if states == {"offline"} else {}

        status = until("both count as offline", gone)  # after 20 s of silence
        assert status["run"]["state"] == "running"
        assert set(status["progress"]["waiting"]["for_"]) >= {"clinic-2", "clinic-3"}
    finally:
        os.kill(sleeper, signal.SIGCONT)
        far.line.down = False
    same_weights(federation, name, reference)
    assert federation.pid("clinic-2") == sleeper  # its process was not restarted
    assert federation.events(name, "asked_again")


@pytest.mark.slow
def test_clinic_killed_during_download_and_upload_returns_and_follows_the_hubs_new_address(federation, reference, far):
    size, done = (reference / "model.safetensors").stat().st_size, []

    def kill(direction: str, passed: int) -> None:
        if size // 3 < passed < size and direction == ["down", "up", None][len(done)]:
            done.append(direction)
            os.kill(federation.pid("clinic-3"), signal.SIGKILL)

    far.line.watch = kill
    name = federation.start_run(**PATIENT)
    until("clinic-3 was killed twice", lambda: federation.status() and len(done) == 2)
    federation.under_way(name, 3)
    far.move("127.0.0.3")
    same_weights(federation, name, reference)
    assert list((federation.place.hub / "uploads").iterdir()) == []


def test_lost_request_is_sent_again(federation, reference):
    """The SuperLink has delivered it, but the connection breaks before clinic-1 gets it; its session continues."""
    lost: list[int] = []

    def loses(target: str, response: bytes) -> bool:
        if lost or "pull-messages" not in target or len(response) < 100:  # an empty response has a few bytes
            return False
        lost.append(len(response))
        return True

    name = federation.start_run(**PATIENT)
    federation.under_way(name, 1)
    federation.proxy.loses = loses
    try:
        same_weights(federation, name, reference)
    finally:
        federation.proxy.loses = lambda target, response: False
    assert lost and federation.events(name, "asked_again")[0]["clinics"] == ["clinic-1"]


@pytest.mark.slow
def test_clinic_with_a_wrong_clock_takes_part(federation, reference, far):
    federation.restart("clinic-3", ODD_CLOCK_S="86000")
    name = federation.start_run(**PATIENT)
    same_weights(federation, name, reference)
    assert "this machine's clock" in federation.log("clinic-3")


def test_reply_to_a_finished_round_is_rejected_as_late_and_does_no_harm(federation):
    """clinic-2 sleeps through the end of a round; its late reply changes nothing, and it takes part again."""
    federation.wait_online()
    name = federation.start_run(rounds=6, min_clinics=2, quorum=2, round_deadline_s=3, grace_s=30)
    federation.under_way(name, 1)
    sleeper = federation.pid("clinic-2")
    os.kill(sleeper, signal.SIGSTOP)
    try:
        until("a round without clinic-2", lambda: any("clinic-2" in r["refused"] for r in federation.records(name)))
    finally:
        os.kill(sleeper, signal.SIGCONT)
    run = federation.wait_over(name)
    assert run["state"] == "finished", (run, federation.logs())
    records = federation.records(name)[1:]
    missed = [r["round"] for r in records if r["refused"] == {"clinic-2": "late"}]
    assert missed and all(set(r["clinics"]) == {"clinic-1", "clinic-3"} for r in records if r["round"] in missed)
    assert all(set(r["clinics"]) | set(r["refused"]) >= {"clinic-1", "clinic-3"} for r in records)
    assert "clinic-2" in records[-1]["clinics"], "clinic-2 takes part again"
    assert any(e["clinic"] == "clinic-2" for e in federation.events(name, "late")), federation.log("clinic-2")[-2000:]
    assert federation.status()["clinics"]["clinic-2"]["state"] != "suspended"
