"""Runs of real processes whose updates are masked: the model is that of a run in one process, whatever is killed."""

import json
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
from kits.federation import until
from kits.policy import write_policy

CLINICS = ["clinic-1", "clinic-2", "clinic-3"]
MASKED = {"secure_aggregation": "required", "rounds": 3, "seed": 3}


@pytest.fixture(scope="module")
def undisturbed(federation):
    """The folder of an undisturbed masked run."""
    return federation.run(**MASKED)


def test_masked_run_gives_the_same_weights_as_in_one_process(federation, undisturbed, tmp_path):
    torch.set_num_threads(1)
    settings = RunSettings.model_validate_json((undisturbed / "settings.json").read_text())
    clinics = {name: EmbryoWorkload(settings, federation.place.data(name), tmp_path / name, "cpu") for name in CLINICS}
    made = run_locally(clinics, settings, initial_model(settings), print)
    assert made.packed.tobytes() == (undisturbed / "model.safetensors").read_bytes()
    for record in federation.records(undisturbed.name)[1:]:
        assert record["masking"]["survivors"] == CLINICS and record["masking"]["clipped"] == 0
        assert all("norm" not in clinic for clinic in record["clinics"].values())
    lines = [json.loads(line) for line in (undisturbed / "metrics.jsonl").read_text().splitlines()]
    curves = {(line["clinic"], line["round"]) for line in lines if line["split"] == "validation"}
    assert curves >= {
        (name, number) for name in CLINICS for number in range(4)
    }  # with `metrics = "own"`, as in `make up`
    holds = {part for line in SentLog(federation.place.clinic("clinic-1")).read() for part in line.holds}
    assert "masking" in holds


@pytest.fixture
def compared(federation):
    """The clinics ask for compared keys, and their people have compared them all."""
    shown = {clinic["name"]: clinic["key"] for clinic in federation.stack.call("GET", "/control/clinics")}
    for name in CLINICS:
        write_policy(federation.place.clinic(name), peers="ask")
        for other in {*CLINICS} - {name}:
            assert federation.clinic(name, "peers", other, shown[other]).returncode == 0
    yield
    for name in CLINICS:
        write_policy(federation.place.clinic(name))


def test_clinic_that_rotates_its_key_between_two_runs_is_not_compared_again(federation, undisturbed, compared):
    assert federation.clinic("clinic-2", "rotate-key").returncode == 0
    folder = federation.run(**MASKED | {"rounds": 1, "seed": 33})
    assert federation.records(folder.name)[1]["masking"]["survivors"] == CLINICS
    assert federation.events(folder.name, "attempt_failed") == []
    for name in ("clinic-1", "clinic-3"):
        assert "clinic-2 has changed its key: now SHA256:" in federation.log(name)
        (line,) = [x for x in federation.clinic(name, "peers").stdout.splitlines() if x.startswith("clinic-2 ")]
        assert "compared; changed its key on" in line and "not compared" not in line


@pytest.mark.parametrize("victim", ["server", "superlink", "clinic-2"])
def test_process_killed_during_masked_rounds_leaves_the_weights_unchanged(federation, undisturbed, victim):
    name = federation.start_run(**MASKED)
    federation.under_way(name, 2)
    children = federation.stack.supervisor.children
    os.kill(children[victim].process.pid, signal.SIGKILL)
    children[victim].crashes = 0
    run = federation.wait_over(name)
    assert run["state"] == "finished", (run["reason"], federation.logs())
    assert (federation.folder(name) / "model.safetensors").read_bytes() == (
        undisturbed / "model.safetensors"
    ).read_bytes()


@pytest.mark.slow
def test_ten_random_kills_in_masked_rounds_leave_the_weights_unchanged(federation):
    seed = int(os.environ.get("EMBRYOFL_TEST_SEED", time.time_ns() % 2**32))
    print(f"EMBRYOFL_TEST_SEED={seed}")
    settings = {**MASKED, "rounds": 12, "strategy": "fedadam", "seed": 12}
    expected = (federation.run(**settings) / "model.safetensors").read_bytes()
    chance, killed, name = random.Random(seed), [], federation.start_run(**settings)
    until("the run has begun", (federation.folder(name) / "round-0000.json").exists)
    while len(killed) < 10:
        time.sleep(chance.uniform(0.0, 1.5))
        victim, children = (
            chance.choice([*CLINICS, "server", "superlink", "gateway"]),
            federation.stack.supervisor.children,
        )
        federation.stack.supervisor.check()
        process = children[victim].process
        if process is None or process.poll() is not None:
            continue  # it is being restarted
        assert not (federation.folder(name) / "model.json").exists(), f"over after {len(killed)} kills; seed {seed}"
        os.kill(process.pid, signal.SIGKILL)
        children[victim].crashes = 0
        killed.append((victim, round(time.time(), 2)))
    run = federation.wait_over(name)
    assert run["state"] == "finished", (seed, killed, run, federation.logs())
    assert (federation.folder(name) / "model.safetensors").read_bytes() == expected, (seed, killed)
