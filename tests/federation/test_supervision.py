"""Processes are killed during a run, and its final weights are bit-identical to those of the undisturbed run."""

import os
import signal

CLINICS, HUB = ["clinic-1", "clinic-2", "clinic-3"], ["signer", "server", "superlink", "gateway"]


def assert_undisturbed(federation, reference, name):
    run = federation.wait_over(name)
    assert run["state"] == "finished" and run["round"] == 4, (run, federation.logs())
    model = (federation.folder(name) / "model.safetensors").read_bytes()
    assert model == (reference / "model.safetensors").read_bytes()
    lines = [(x["round"], x["clinic"], x["split"], x["day"]) for x in run["metrics"]]
    assert len(set(lines)) == len(lines)
    enrolled = [e["clinic"] for e in federation.audit("enrolled")]
    assert len(set(enrolled)) == len(enrolled)  # no clinic joined again


def test_one_kill_per_round_leaves_the_weights_unchanged(federation, reference):
    # rounds are as short as in the undisturbed run, so each kill follows the start of its round at once
    name = federation.start_run(rounds=4)
    for round_, victim in enumerate(["gateway", "clinic-2", "superlink", "server"], 1):
        federation.under_way(name, round_)
        os.kill(federation.pid(victim), signal.SIGKILL)
        federation.stack.supervisor.children[victim].crashes = 0  # so that the supervisor does not count it as a crash
    assert_undisturbed(federation, reference, name)
    assert federation.events(name, "resumed")
    assert set(federation.events(name, "link_back")[0]["enrolled_again"]) >= set(CLINICS)  # it restarted without state


def test_killing_everything_at_once_leaves_the_weights_unchanged(federation, reference):
    name = federation.start_run(rounds=4)
    federation.under_way(name, 2)
    for victim in [*HUB, *CLINICS]:
        os.kill(federation.pid(victim), signal.SIGKILL)
    assert_undisturbed(federation, reference, name)
