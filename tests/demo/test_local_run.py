"""A run in one process, with masks and without, in real training on drawn images."""

import numpy as np
import pytest
import torch

from embryofl.wire import Layout
from embryofl_clinic.workload.embryo import EmbryoWorkload
from embryofl_demo.local_run import initial_model, run_locally
from embryofl_server.federation.run_settings import check_settings
from kits.federation import draw_clinic

NAMES = ("clinic-1", "clinic-2", "clinic-3")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """`run(**settings)`: the model of a run of three clinics."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("drawn")
    paths = {name: draw_clinic(folder / name, name, patients=25 + 15 * i) for i, name in enumerate(NAMES)}

    def make(**settings):
        values = {
            "model": "small_cnn",
            "image_size": 32,
            "rounds": 1,
            "batch_size": 8,
            "min_clinics": 3,
            "norm_clip": 0,
            "seed": 1,  # with masks it would be drawn
        }
        checked = check_settings(values | settings)
        clinics = {name: EmbryoWorkload(checked, path, folder / "cache" / name, "cpu") for name, path in paths.items()}
        return run_locally(clinics, checked, initial_model(checked))

    return make


@pytest.mark.slow
def test_masked_round_makes_the_model_of_the_unmasked_one(run):
    """In later rounds AdamW makes a difference in the last digit a large one, with masks or without."""
    plain, masked = (run(secure_aggregation=which) for which in ("off", "required"))
    layout = Layout.parse(plain.packed.data)
    first, second = layout.section_views(plain.packed)[0], layout.section_views(masked.packed)[0]
    assert 0 < np.linalg.norm(second - first) < 1e-5 * np.linalg.norm(first)
    assert masked.validation == pytest.approx(plain.validation, abs=0.01)


@pytest.mark.slow
def test_masked_run_repeated_ends_in_the_same_bits(run):
    made = [run(secure_aggregation="auto", rounds=2, local_epochs=1) for _ in range(2)]
    assert np.array_equal(made[0].packed, made[1].packed)
