"""A clinic that was away is back without anybody doing anything at the hub, and the run's weights are what they were.

Each test disturbs a run of four rounds and compares its model with that of the undisturbed run (`reference`).
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from federation_kit import Federation, until
from line import Line

AWAY_S = 24.0  # a node that was silent for 20 s counts as offline
PATIENT = {"rounds": 4, "round_deadline_s": 300}
ODD = str(Path(__file__).parent / "odd_clinic.py")


def under_way(federation: Federation, name: str, round_: int) -> None:
    def ready() -> bool:
        info = federation.status()
        assert info["run"]["state"] not in ("finished", "failed"), (info["run"], "the run was over too soon")
        now = info["progress"]
        return info["run"]["name"] == name and now["round"] >= round_ and now["phase"] == "training"

    until(f"round {round_} is under way", ready, pause=0.0)


def same_weights(federation: Federation, name: str, reference: Path) -> None:
    run = federation.wait_over(name)
    assert run["state"] == "finished" and run["reason"] == "", (run, federation.logs())
    assert (federation.folder(name) / "model.safetensors").read_bytes() == (
        reference / "model.safetensors"
    ).read_bytes()
    assert [r["refused"] for r in federation.records(name)] == [{}] * 5


@pytest.fixture
def odd(federation: Federation) -> Iterator[object]:
    """`odd(name, **environment)`: start a clinic again as an odd one; put right afterwards."""
    changed: list[str] = []

    def make(name: str, **environment: str) -> None:
        federation.remove(name)
        os.environ.update(environment)
        try:
            federation.stack.start_clinic(name, [sys.executable, ODD])
        finally:
            for key in environment:
                del os.environ[key]
        changed.append(name)

    yield make
    for name in changed:
        federation.remove(name)
        federation.stack.start_clinic(name)


def test_asleep_and_cut_off_for_longer_than_it_takes_to_count_as_gone(federation, reference, odd, tmp_path):
    """clinic-2's machine sleeps (SIGSTOP), clinic-3's line is dead; both at the same time, in the middle of a round."""
    line = Line(federation.port, "127.0.0.2")
    try:
        (tmp_path / "address").write_text("127.0.0.2")
        odd("clinic-3", ODD_ADDRESS_FILE=str(tmp_path / "address"))
        name = federation.start_run(**PATIENT)
        under_way(federation, name, 2)
        line.down = True
        sleeper = federation.pid("clinic-2")
        os.kill(sleeper, signal.SIGSTOP)
        began = time.monotonic()
        try:
            away = until("both count as gone", lambda: (
                s := federation.status(),
                [n for n in ("clinic-2", "clinic-3") if s["clinics"][n]["state"] == "offline"] == ["clinic-2", "clinic-3"] and s,
            )[1], 60)  # fmt: skip
            assert away["run"]["state"] == "running" and set(away["progress"]["waiting"]["for_"]) >= {
                "clinic-2",
                "clinic-3",
            }
            time.sleep(max(0.0, AWAY_S - (time.monotonic() - began)))
        finally:
            os.kill(sleeper, signal.SIGCONT)
            line.down = False
        same_weights(federation, name, reference)
        assert federation.pid("clinic-2") == sleeper  # it was not even started again
        assert federation.events(name, "asked_again")
    finally:
        line.close()


def test_the_hub_moves_to_another_address_under_the_same_name(federation, reference, odd, tmp_path):
    file, first = tmp_path / "address", Line(federation.port, "127.0.0.2")
    file.write_text("127.0.0.2")
    second = None
    try:
        odd("clinic-3", ODD_ADDRESS_FILE=str(file))
        name = federation.start_run(**PATIENT)
        under_way(federation, name, 2)
        first.close()
        second = Line(federation.port, "127.0.0.3")
        file.write_text("127.0.0.3")
        same_weights(federation, name, reference)
    finally:
        first.close()
        if second:
            second.close()


@pytest.mark.parametrize("direction", ["up", "down"])
def test_killed_in_the_middle_of_sending_or_fetching_weights(federation, reference, odd, tmp_path, direction):
    size = (reference / "model.safetensors").stat().st_size
    line, killed = Line(federation.port, "127.0.0.2"), threading.Event()
    (tmp_path / "address").write_text("127.0.0.2")
    try:
        odd("clinic-3", ODD_ADDRESS_FILE=str(tmp_path / "address"))
        name = federation.start_run(**PATIENT)
        under_way(federation, name, 2)

        def kill(way: str, passed: int) -> None:
            if way == direction and size // 3 < passed < size and not killed.is_set():
                killed.set()
                os.kill(federation.pid("clinic-3"), signal.SIGKILL)

        line.watch = kill
        same_weights(federation, name, reference)
        assert killed.is_set()
        assert list((federation.place.hub / "uploads").iterdir()) == []
    finally:
        line.close()


@pytest.mark.parametrize("off", [-7200, 86_000])
def test_a_wrong_clock(federation, reference, odd, off):
    odd("clinic-3", ODD_CLOCK_S=str(off))
    name = federation.start_run(**PATIENT)
    same_weights(federation, name, reference)
    assert "this machine's clock" in federation.log("clinic-3")


def test_an_answer_to_a_round_that_is_over_is_refused_as_late_and_does_no_harm(federation):
    """clinic-2 sleeps through the end of a round; awake again it answers, which changes nothing, and it takes part."""
    federation.wait_online()
    name = federation.start_run(rounds=6, min_clinics=2, quorum=2, round_deadline_s=3, grace_s=30)
    under_way(federation, name, 1)
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
    assert "clinic-2" in records[-1]["clinics"], "it is back"
    assert any(e["clinic"] == "clinic-2" for e in federation.events(name, "late")), federation.log("clinic-2")[-2000:]
    assert federation.status()["clinics"]["clinic-2"]["state"] != "suspended"
