"""Runs of real processes whose updates are masked: the model is that of a run in one process, whatever is killed."""

import os
import random
import signal
import time

import pytest
import torch

from embryofl.settings import RunSettings
from embryofl_clinic.policy.sent import SentLog
from embryofl_clinic.workload.embryo import EmbryoWorkload
from embryofl_demo.local_run import initial_model, run_locally
from kits.federation import OWN_METRICS, until

CLINICS = ["clinic-1", "clinic-2", "clinic-3"]
MASKED = {"secure_aggregation": "required", "rounds": 3, "seed": 3}


@pytest.fixture(scope="module")
def masked(federation):
    """The federation, with clinics that take each other's keys as the hub shows them."""
    policies = [federation.place.clinic(name) / "policy.toml" for name in CLINICS]
    before = [policy.read_text() if policy.exists() else None for policy in policies]
    for policy in policies:
        policy.write_text(OWN_METRICS + 'peers = "first"\n')
    yield federation
    for policy, text in zip(policies, before, strict=True):
        policy.unlink() if text is None else policy.write_text(text)


@pytest.fixture(scope="module")
def undisturbed(masked):
    """The folder of an undisturbed masked run."""
    return masked.run(**MASKED)


def test_masked_run_gives_the_same_weights_as_in_one_process(masked, undisturbed, tmp_path):
    torch.set_num_threads(1)
    settings = RunSettings.model_validate_json((undisturbed / "settings.json").read_text())
    clinics = {name: EmbryoWorkload(settings, masked.place.data(name), tmp_path / name, "cpu") for name in CLINICS}
    made = run_locally(clinics, settings, initial_model(settings), print)
    assert made.packed.tobytes() == (undisturbed / "model.safetensors").read_bytes()
    for record in masked.records(undisturbed.name)[1:]:
        assert record["masking"]["survivors"] == CLINICS and record["masking"]["clipped"] == 0
        assert all("norm" not in clinic for clinic in record["clinics"].values())
    holds = {part for line in SentLog(masked.place.clinic("clinic-1")).read() for part in line.holds}
    assert "masking" in holds


@pytest.mark.parametrize("victim", ["server", "superlink", "clinic-2"])
def test_process_killed_during_masked_rounds_leaves_the_weights_unchanged(masked, undisturbed, victim):
    name = masked.start_run(**MASKED)
    masked.under_way(name, 2)
    children = masked.stack.supervisor.children
    os.kill(children[victim].process.pid, signal.SIGKILL)
    children[victim].crashes = 0
    run = masked.wait_over(name)
    assert run["state"] == "finished", (run["reason"], masked.logs())
    assert (masked.folder(name) / "model.safetensors").read_bytes() == (undisturbed / "model.safetensors").read_bytes()


def test_ten_random_kills_in_masked_rounds_leave_the_weights_unchanged(masked):
    seed = int(os.environ.get("EMBRYOFL_TEST_SEED", time.time_ns() % 2**32))
    print(f"EMBRYOFL_TEST_SEED={seed}")
    settings = {**MASKED, "rounds": 12, "strategy": "fedadam", "seed": 12}
    expected = (masked.run(**settings) / "model.safetensors").read_bytes()
    chance, killed, name = random.Random(seed), [], masked.start_run(**settings)
    until("the run has begun", (masked.folder(name) / "round-0000.json").exists)
    while len(killed) < 10:
        time.sleep(chance.uniform(0.0, 1.5))
        victim, children = chance.choice([*CLINICS, "server", "superlink", "gateway"]), masked.stack.supervisor.children
        masked.stack.supervisor.check()
        process = children[victim].process
        if process is None or process.poll() is not None:
            continue  # it is being restarted
        assert not (masked.folder(name) / "model.json").exists(), f"over after {len(killed)} kills; seed {seed}"
        os.kill(process.pid, signal.SIGKILL)
        children[victim].crashes = 0
        killed.append((victim, round(time.time(), 2)))
    run = masked.wait_over(name)
    assert run["state"] == "finished", (seed, killed, run, masked.logs())
    assert (masked.folder(name) / "model.safetensors").read_bytes() == expected, (seed, killed)
