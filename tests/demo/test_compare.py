"""`make compare` in small: every way of training is judged on every clinic's held-out patients, and pooling mixes nobody up."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from embryofl.data import Examples, pool
from embryofl_demo.compare import POOLED, compare
from embryofl_server.start import check_settings

sys.path.insert(0, str(Path(__file__).parents[1] / "federation"))
from federation_kit import draw_clinic


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_four_ways_of_training_are_judged_at_every_clinic(tmp_path):
    names = ["clinic-1", "clinic-2", "clinic-3"]
    folders = {name: draw_clinic(tmp_path / name, name, patients=30) for name in names}
    settings = check_settings({"model": "small_cnn", "image_size": 32, "rounds": 1, "local_epochs": 1})
    said: list[str] = []
    scored = compare(folders, tmp_path / "cache", settings, said.append)
    ways = ["federated", "pooled", *(f"{n} alone" for n in names), *(f"without {n}" for n in names)]
    assert list(scored) == ways and len(said) == len(ways)
    assert all(list(sums) == [*names, POOLED] for sums in scored.values())
    seen = {name: scored["federated"][name].summary().n for name in names}
    assert all(sums[name].summary().n == seen[name] > 0 for sums in scored.values() for name in names)
    assert all(sums[POOLED].summary().n == sum(seen.values()) for sums in scored.values())


def test_pooled_examples_are_those_of_the_clinics_one_after_the_other():
    def part(pixels: list[int], rows: list[int], embryos: list[int]) -> Examples:
        n = len(rows)
        return Examples(
            np.array(pixels, np.uint8).reshape(-1, 1, 1, 1), np.array(rows), np.arange(n) % 2, np.full(n, 5),
            np.array(embryos), np.array(embryos),
        )  # fmt: skip

    both = pool([part([1, 2, 3], [2, 0], [0, 0]), part([4, 5], [1, 0], [1, 0])])
    assert both.pixels[both.rows].ravel().tolist() == [3, 1, 5, 4]
    assert both.embryos.tolist() == both.groups.tolist() == [0, 0, 2, 1] and len(both) == 3
