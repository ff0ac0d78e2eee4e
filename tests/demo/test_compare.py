"""A small `make compare`: all ways of training are evaluated on each clinic's test patients; pooling mixes up no patients."""

import numpy as np
import pytest
import torch

from embryofl_data.dataset import ImageExamples, pool
from embryofl_demo.compare import POOLED, aurocs, compare
from embryofl_demo.intervals import Scored, auroc, draws, estimate, sampled
from embryofl_demo.plot import svg
from embryofl_server.federation.run_settings import check_settings
from kits.federation import draw_clinic


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_four_ways_of_training_are_evaluated_at_every_clinic(tmp_path):
    names = ["clinic-1", "clinic-2", "clinic-3"]
    folders = {name: draw_clinic(tmp_path / name, name, patients=30) for name in names}
    settings = check_settings({"model": "small_cnn", "image_size": 32, "rounds": 1, "local_epochs": 1})
    lines: list[str] = []
    scores = compare(folders, tmp_path / "cache", settings, lines.append, seeds=2)
    ways = ["federated", "pooled", *(f"{n} alone" for n in names), *(f"without {n}" for n in names)]
    assert list(scores) == ways and len(lines) == 2 * (len(ways) + 1)
    for by_clinic in scores.values():
        assert list(by_clinic) == names and all(list(by_seed) == [0, 1] for by_seed in by_clinic.values())
    assert (scores["federated"]["clinic-1"][0].scores != scores["federated"]["clinic-1"][1].scores).any()
    rows = aurocs(scores)
    gain = rows["federated"]["clinic-2"].value - rows["clinic-2 alone"]["clinic-2"].value
    assert rows["federated - alone"]["clinic-2"].value == pytest.approx(gain)
    assert list(rows["federated - pooled"]) == [*names, POOLED]
    assert svg(rows, "a < b").count("<circle") == len(ways) * 4 and "a &lt; b" in svg(rows, "a < b")


def test_auroc_compares_pairs_within_a_day_and_its_interval_resamples_patients():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    days, labels, patients = np.repeat([3, 5], 40), np.arange(80) % 2, np.arange(80) // 4
    scores = np.round(rng.random(80) + 0.3 * labels + (days == 5), 1)  # ties, and a day that scores higher
    value = auroc(Scored(scores, labels, days, patients), np.ones((1, 20)))
    assert value == pytest.approx(np.mean([roc_auc_score(labels[days == d], scores[days == d]) for d in (3, 5)]))
    weights = draws(20, 0)[7:8]
    repeated = np.repeat(np.arange(80), weights[0].astype(int)[patients])  # each patient as often as it was drawn
    one_day = np.zeros(80, int)
    drawn = auroc(Scored(scores, labels, one_day, patients), weights)
    assert drawn == pytest.approx(roc_auc_score(labels[repeated], scores[repeated]))
    auroc_estimate = estimate(sampled({0: Scored(scores, labels, days, patients)}))
    assert auroc_estimate.low < auroc_estimate.value < auroc_estimate.high
    same = sampled({0: Scored(scores, labels, days, patients)}) - sampled(
        {0: Scored(scores * 2, labels, days, patients)}
    )
    assert estimate(same).low == estimate(same).high == 0  # the same patients are drawn for both


def test_pooled_examples_are_the_clinics_examples_in_order():
    def part(pixels: list[int], rows: list[int], embryos: list[int]) -> ImageExamples:
        n = len(rows)
        return ImageExamples(
            np.array(pixels, np.uint8).reshape(-1, 1, 1, 1),
            np.array(rows),
            np.arange(n) % 2,
            np.full(n, 5),
            np.array(embryos),
            np.array(embryos),
            np.array(embryos) - 1,
        )

    both = pool([part([1, 2, 3], [2, 0], [0, 0]), part([4, 5], [1, 0], [1, 0])])
    assert both.pixels[both.rows].ravel().tolist() == [3, 1, 5, 4]
    assert both.embryos.tolist() == both.groups.tolist() == [0, 0, 2, 1] and len(both) == 3
    assert both.cohorts.tolist() == [-1, -1, 0, -1]  # an unknown patient stays unknown
