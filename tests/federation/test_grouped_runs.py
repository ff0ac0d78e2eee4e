"""A masked run of nine clinics, real processes: sums over groups of three, whose median makes the model."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from embryofl.masked_update import difference, sum_weight
from embryofl.messages import Request, round_seed
from embryofl.secagg.groups import draw
from embryofl.settings import RunSettings
from embryofl.wire import Layout
from embryofl_clinic.workload.embryo import EmbryoWorkload
from kits.federation import Federation, draw_clinic

pytestmark = pytest.mark.slow

CLINICS = [f"clinic-{number}" for number in range(1, 10)]
SETTINGS = {
    "secure_aggregation": "required",
    "groups": "auto",
    "strategy": "fedavg",
    "min_clinics": 9,
    "image_size": 32,
    "seed": 9,
}


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """Nine clinics of different sizes."""
    federation = Federation(tmp_path_factory.mktemp("nine") / "place")
    for number, name in enumerate(CLINICS):
        draw_clinic(federation.place.data(name), name, patients=20 + number)
    try:
        federation.stack.start_hub()
        federation.join(CLINICS)
        yield federation
    finally:
        federation.stack.stop()


@pytest.fixture(scope="module")
def undisturbed(nine: Federation) -> Path:
    """The folder of a run in which nothing is killed."""
    return nine.run(**SETTINGS)


def groups_of(record):
    return [tuple(group) for group in record["masking"]["groups"]]


def test_nine_clinics_have_three_sums_and_the_model_is_moved_by_the_median_of_their_means(nine, undisturbed, tmp_path):
    settings = RunSettings.model_validate_json((undisturbed / "settings.json").read_text())
    first, second = nine.records(undisturbed.name)[1:]
    weights = {name: sum_weight(settings, clinic["examples"]) for name, clinic in first["clinics"].items()}
    groups = groups_of(first)
    assert groups == groups_of(second) == [*draw(settings.seed, weights)]
    assert [len(group) for group in groups] == [3, 3, 3] and sorted(weights) == CLINICS

    torch.set_num_threads(1)
    folder = nine.place.hub / "weights" / undisturbed.name
    before, after = (np.fromfile(folder / f"round-000{number}.safetensors", np.uint8) for number in (0, 1))
    layout, updates = Layout.parse(before.data), {}
    for name in CLINICS:
        workload = EmbryoWorkload(settings, nine.place.data(name), tmp_path / name, "cpu")
        workload.load(before.copy())
        request = Request.model_construct(settings=settings, round=1, run="run-0001", kind="train", masking=None)
        trained = workload.train(request, round_seed(settings.seed, 1, name))
        updates[name] = difference(trained.packed, before, layout).astype(np.float64)
    means = [np.average([updates[n] for n in group], axis=0, weights=[weights[n] for n in group]) for group in groups]
    moved, median = difference(after, before, layout), np.median(means, axis=0)
    assert np.linalg.norm(moved - median) < 1e-4 * np.linalg.norm(median)
    assert np.linalg.norm(median - np.mean(means, axis=0)) > 0.01 * np.linalg.norm(median)
