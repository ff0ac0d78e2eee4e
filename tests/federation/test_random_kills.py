"""Twenty random processes are killed at random moments of a run: the weights equal those of the undisturbed run."""

import os
import random
import signal
import time

import pytest

from kits.federation import until

KILLS, ROUNDS, MOST_S = 20, 16, 1.5
SETTINGS = {"rounds": ROUNDS, "strategy": "fedadam"}  # its optimiser state must survive, too
SEED = int(os.environ.get("EMBRYOFL_TEST_SEED", time.time_ns() % 2**32))
VICTIMS = ["clinic-1", "clinic-2", "clinic-3", "server", "superlink", "gateway"]


@pytest.mark.slow
def test_twenty_random_kills_leave_the_weights_unchanged(federation):
    print(f"EMBRYOFL_TEST_SEED={SEED}")
    expected = (federation.run(**SETTINGS) / "model.safetensors").read_bytes()
    chance, killed = random.Random(SEED), []
    name = federation.start_run(**SETTINGS)
    folder = federation.folder(name)
    until("the run has begun", lambda: (folder / "events.jsonl").exists() or (folder / "round-0000.json").exists())
    while len(killed) < KILLS:
        time.sleep(chance.uniform(0.0, MOST_S))
        victim = chance.choice(VICTIMS)
        children = federation.stack.supervisor.children
        federation.stack.supervisor.check()
        process = children[victim].process
        if process is None or process.poll() is not None:
            continue  # it is being restarted
        assert not (folder / "model.json").exists(), f"over after {len(killed)} kills; seed {SEED}"
        os.kill(process.pid, signal.SIGKILL)
        children[victim].crashes = 0  # so that the supervisor does not count it as a crash
        killed.append((victim, round(time.time(), 2)))
    run = federation.wait_over(name)
    assert run["state"] == "finished", (SEED, killed, run, federation.logs())
    assert (folder / "model.safetensors").read_bytes() == expected, (SEED, killed)
    rounds = [e["round"] for e in federation.events(name, "round")]
    assert rounds == list(range(1, ROUNDS + 1)), (SEED, killed)
    lines = [(x["round"], x["clinic"], x["split"], x["day"]) for x in run["metrics"]]
    assert len(set(lines)) == len(lines)
    assert all(r["refused"] == {} for r in federation.records(name)), (SEED, killed)
