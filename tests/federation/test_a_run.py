"""A run from start to results, and its repetition with the same seed."""

import json
import math

import numpy as np
import pytest
import torch

from embryofl.settings import RunSettings
from embryofl_clinic.workload.embryo import EmbryoWorkload
from embryofl_demo.local_run import initial_model, run_locally
from embryofl_server.audit.reading import verify_log
from embryofl_server.federation.checkpoint import Checkpoints
from kits.federation import SETTINGS, until


def test_finished_run_leaves_a_model_that_any_tool_can_read(federation, reference):
    from safetensors.torch import load_file

    from embryofl.models.zoo import create_model

    state = load_file(reference / "model.safetensors")
    create_model("small_cnn").load_state_dict(state)  # strict: all tensors exist, with the right shapes
    assert all(bool(t.isfinite().all()) for t in state.values())
    record = json.loads((reference / "model.json").read_text())
    assert record["round"] == 4 and record["settings"]["seed"] == SETTINGS["seed"]
    assert (
        record["sha256"]
        == Checkpoints(reference, federation.place.hub / "weights" / reference.name, 3).latest().record["sha256"]
    )


def test_metrics_have_a_line_per_clinic_and_a_pooled_one(federation, reference):
    lines = [json.loads(x) for x in (reference / "metrics.jsonl").read_text().splitlines()]
    names = {"clinic-1", "clinic-2", "clinic-3"}
    for round_ in range(1, 5):
        train = [x for x in lines if x["split"] == "train" and x["round"] == round_]
        assert {x["clinic"] for x in train} == names and len(train) == 3
        assert all(math.isfinite(x["loss"]) and x["n"] > 20 and x["norm"] > 0 for x in train)
    for round_ in range(5):  # the initial model, and that of each round
        validation = [x for x in lines if (x["split"], x["round"], x["day"]) == ("validation", round_, None)]
        assert {x["clinic"] for x in validation} == names | {"pooled"}
    test = {x["clinic"]: x for x in lines if x["split"] == "test" and x["day"] is None}
    assert set(test) == names | {"pooled"}
    assert test["pooled"]["n"] == sum(test[n]["n"] or 0 for n in names)
    keys = [(x["round"], x["clinic"], x["split"], x["day"]) for x in lines]
    assert len(set(keys)) == len(keys)


def test_status_shows_clinics_and_progress_of_the_run(federation, reference):
    names = ("clinic-1", "clinic-2", "clinic-3")

    def all_online():
        info = federation.status()
        return {info["clinics"][name]["state"] for name in names} == {"online"} and info

    info = until("all clinics are online", all_online)
    clinics = [info["clinics"][name] for name in names]
    assert all(60 <= c["labelled"] <= 80 for c in clinics)
    assert info["run"]["state"] == "finished" and info["run"]["round"] == info["run"]["settings"]["rounds"]
    assert info["progress"]["waiting"] is None
    intact, message = verify_log(federation.place.hub)
    assert intact and "intact" in message


def test_same_seed_gives_identical_weights_and_another_seed_different_ones(federation, reference):
    again, other = federation.run(rounds=4, initial=""), federation.run(rounds=4, initial="", seed=2)
    weights = [np.fromfile(f / "model.safetensors", np.uint8) for f in (reference, again, other)]
    assert weights[0].tobytes() == weights[1].tobytes()
    assert weights[0].size == weights[2].size and weights[0].tobytes() != weights[2].tobytes()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "resnet999"}, "small_cnn"),
        ({"strategy": "fedmagic"}, "fedavg"),
        ({"ronuds": 3}, "rounds"),
        ({"image_size": 5}, "image_size"),
        ({"quorum": 2.5}, "quorum"),
    ],
)
def test_unknown_setting_is_rejected_with_the_valid_ones(federation, settings, words):
    from embryofl.errors import UserError

    before = federation.status()["run"]
    with pytest.raises(UserError) as caught:
        federation.start_run(initial="", **settings)
    assert next(iter(settings)) in str(caught.value) or str(next(iter(settings.values()))) in str(caught.value)
    assert words in str(caught.value)
    after = federation.status()["run"]
    assert (after or {}).get("name") == (before or {}).get("name")  # nothing was started


def test_run_in_one_process_gives_the_same_weights_as_the_real_run(federation, reference, tmp_path):
    torch.set_num_threads(1)
    settings = RunSettings.model_validate_json((reference / "settings.json").read_text())
    clinics = {
        name: EmbryoWorkload(settings, federation.place.data(name), tmp_path / name, "cpu")
        for name in ("clinic-1", "clinic-2", "clinic-3")
    }
    made = run_locally(clinics, settings, initial_model(settings), print)
    assert made.packed.tobytes() == (reference / "model.safetensors").read_bytes()
