"""Whatever is killed in the middle of a run, the run ends with the weights of the undisturbed one, bit for bit."""

import os
import signal

import pytest
from federation_kit import until


@pytest.mark.parametrize("victim", ["clinic-2", "server", "superlink", "gateway"])
def test_a_kill_in_the_middle_of_a_run_changes_nothing(federation, reference, victim):
    # longer rounds would be a surer hit, but not these weights; so the kill comes as soon as round 2 is under way
    name = federation.start_run(rounds=4)

    def under_way():
        info = federation.status()
        assert info["run"]["state"] not in ("finished", "failed"), "the run was over before the kill"
        return (
            info["run"]["name"] == name and info["progress"]["round"] >= 2 and info["progress"]["phase"] == "training"
        )

    until("round 2 is under way", under_way, pause=0.0)
    os.kill(federation.pid(victim), signal.SIGKILL)
    run = federation.wait_over(name)
    assert run["state"] == "finished" and run["round"] == 4, (run, federation.logs())
    assert (federation.folder(name) / "model.safetensors").read_bytes() == (
        reference / "model.safetensors"
    ).read_bytes()
    lines = [(x["round"], x["clinic"], x["split"], x["day"]) for x in run["metrics"]]
    assert len(set(lines)) == len(lines)
    if victim == "server":
        assert federation.events(name, "resumed")
    if victim == "superlink":
        assert federation.events(name, "link_back")[-1]["enrolled_again"]  # it came back empty
    assert federation.audit("enrolled") and len({e["clinic"] for e in federation.audit("enrolled")}) == len(
        federation.audit("enrolled")
    )  # nobody had to join anew
