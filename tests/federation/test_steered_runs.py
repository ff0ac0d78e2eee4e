"""Strategies with drift correction or personal models, on real processes.

Killed processes come back, and the weights are bit-identical to those of the same run in one process.
"""

import json
import os
import signal

import numpy as np
import pytest
import torch

from embryofl.settings import RunSettings
from embryofl_clinic.workload.embryo import EmbryoWorkload
from embryofl_demo.local_run import initial_model, run_locally

NAMES = ("clinic-1", "clinic-2", "clinic-3")


def in_one_process(federation, folder, scratch):
    torch.set_num_threads(1)
    settings = RunSettings.model_validate_json((folder / "settings.json").read_text())
    clinics = {n: EmbryoWorkload(settings, federation.place.data(n), scratch / n, "cpu") for n in NAMES}
    return run_locally(clinics, settings, initial_model(settings), print)


@pytest.mark.slow
def test_scaffold_resumes_after_hub_and_clinic_are_killed(federation, tmp_path):
    run = federation.start_run(rounds=4, strategy="scaffold")
    for round_, victim in ((2, "server"), (3, "clinic-2")):
        federation.under_way(run, round_)
        os.kill(federation.pid(victim), signal.SIGKILL)
    federation.wait_over(run)
    folder = federation.folder(run)
    made = in_one_process(federation, folder, tmp_path)
    assert made.packed.tobytes() == (folder / "model.safetensors").read_bytes()
    assert not list((federation.place.hub / "weights" / run).glob("*-for-*"))


def test_ditto_keeps_personal_models_at_the_clinic_and_releases_only_their_sums(federation, tmp_path):
    run = federation.start_run(rounds=3, strategy="ditto")
    federation.under_way(run, 2)
    os.kill(federation.pid("clinic-3"), signal.SIGKILL)
    federation.wait_over(run)
    folder = federation.folder(run)
    made = in_one_process(federation, folder, tmp_path)
    assert made.packed.tobytes() == (folder / "model.safetensors").read_bytes()
    lines = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {x["clinic"] for x in lines if x["split"] == "personal_test"} == {*NAMES, "pooled"}
    for name in NAMES:
        personal = federation.place.clinic(name) / "personal" / run / "round-0003.safetensors"
        assert personal.read_bytes() == (tmp_path / name / "personal" / "run-0001" / personal.name).read_bytes()
        assert np.any(np.fromfile(personal, np.uint8) != made.packed)
