"""The coordinator pauses, resumes and queues runs, and suspends and reinstates clinics, also across restarts."""

import json
import os
import signal

import pytest

from kits.federation import until


@pytest.fixture
def command(federation):
    """`command(*words)`: exit code and output of `embryofl-server`."""

    def run(*words: str) -> tuple[int, str]:
        done = federation.hub(*words)
        return done.returncode, done.stdout + done.stderr

    return run


def state(federation, name):
    return (
        federation.stack.call("GET", "/control/status")
        and {r["name"]: r["state"] for r in federation.stack.call("GET", "/control/runs")}[name]
    )


def test_paused_run_stays_paused_across_a_restart_and_ends_with_the_same_weights(federation, reference, command):
    name = federation.start_run(rounds=4)
    federation.under_way(name, 2)
    sleeper = federation.pid("clinic-2")
    os.kill(sleeper, signal.SIGSTOP)  # so that the run is still under way when it is paused
    try:
        code, words = command("pause")
        assert code == 0 and name in words and f"resume {name}" in words
        until("the run is paused", lambda: state(federation, name) == "paused")
        done = len(federation.events(name, "round"))
        os.kill(federation.pid("server"), signal.SIGKILL)
        assert federation.status()["run"]["state"] == "paused"  # the hub has restarted
        assert 1 <= len(federation.events(name, "round")) == done < 4
    finally:
        os.kill(sleeper, signal.SIGCONT)
    code, words = command("status")
    assert code == 0 and "Paused" in words
    code, words = command("resume", name)
    assert code == 0 and "is resumed" in words
    assert federation.wait_over(name)["state"] == "finished"
    assert (federation.folder(name) / "model.safetensors").read_bytes() == (
        reference / "model.safetensors"
    ).read_bytes()
    assert [federation.audit(e)[-1]["run"] for e in ("run_paused", "run_continued")] == [name, name]


def test_second_run_is_queued_and_starts_when_the_first_ends(federation, command):
    first, second = federation.start_run(rounds=1000), federation.start_run(rounds=1)
    assert state(federation, second) == "queued"
    info = federation.status()
    assert info["run"]["name"] == first and info["queued"] == [second]
    until("a round is done", lambda: len(federation.records(first)) > 1)
    assert command("stop", first)[0] == 0
    assert federation.wait_over(second)["state"] == "finished" and state(federation, first) == "stopped"
    model = json.loads((federation.folder(first) / "model.json").read_text())  # of the last complete round
    assert model["round"] == federation.records(first)[-1]["round"] and "stopped" in model["incomplete"]
    assert [e["run"] for e in federation.audit("run_ended")][-2:] == [first, second]


def test_suspended_clinic_is_notified_and_returns_when_reinstated(federation, command):
    before = {n: federation.pid(n) for n in ("clinic-1", "clinic-2", "clinic-3")}
    code, words = command("suspend", "clinic-2", "--reason", "Its microscope is being repaired.")
    assert code == 0 and "reinstate clinic-2" in words
    folder = federation.run(rounds=1, min_clinics=2)
    assert set(federation.records(folder.name)[1]["clinics"]) == {"clinic-1", "clinic-3"}
    until("its log says why", lambda: "microscope is being repaired" in federation.log("clinic-2"))
    code, words = command("clinics")
    assert "clinic-2  Suspended" in words and "microscope" in words
    os.kill(federation.pid("superlink"), signal.SIGKILL)  # it restarts empty and must learn who is suspended, too
    code, words = command("resume", "clinic-2")
    assert code == 2 and "reinstate clinic-2" in words
    code, words = command("reinstate", "clinic-2")
    assert code == 0
    folder = federation.run(rounds=1)
    assert set(federation.records(folder.name)[1]["clinics"]) == set(before)
    until("its log says that it is enrolled", lambda: "enrolled and takes part" in federation.log("clinic-2"))
    assert {n: federation.pid(n) for n in before} == before
    suspended, resumed = (
        [e for e in federation.audit(event) if e["clinic"] == "clinic-2"] for event in ("suspended", "resumed")
    )
    assert len(suspended) == len(resumed) == 1 and suspended[0]["by"]


def test_audit_log_is_intact_afterwards(federation, reference, command):
    code, words = command("audit", "verify")
    assert code == 0 and "intact" in words
    code, words = command("audit", "show", "--event", "round", "--last", "1")
    assert code == 0 and "model_made=" in words and len(words.splitlines()) == 1
