"""The mean: right, the same in whatever order the clinics answer, and with one model in memory."""

import itertools

import numpy as np
import pytest

from embryofl_server.aggregate import OrderedMean
from embryofl_server.strategies import strategy

NAMES = ["anna", "bert", "cleo"]
WEIGHTS = {"anna": 40.0, "bert": 7.0, "cleo": 133.0}


def mean(layout, update, arrival, skipped=()):
    found = OrderedMean(layout, NAMES)
    for name in arrival:
        seed = NAMES.index(name)
        if name in skipped:
            found.skip(name)
        else:
            found.add(name, update(seed, count=10 + seed), WEIGHTS[name])
    return found.result()


def test_it_is_the_weighted_mean_in_float64(layout, packed, update):
    result = layout.tensor_views(mean(layout, update, NAMES))
    states = [layout.tensor_views(packed(i, 10 + i)) for i in range(3)]
    for name in ("w", "b", "half"):
        total = np.zeros(states[0][name].shape)
        for i, clinic in enumerate(NAMES):
            total += states[i][name].astype(np.float64) * WEIGHTS[clinic]
        expected = (total / sum(WEIGHTS.values())).astype(states[0][name].dtype)
        assert result[name].dtype == expected.dtype and np.array_equal(result[name], expected)
    expected_count = round(sum((10 + i) * WEIGHTS[c] for i, c in enumerate(NAMES)) / sum(WEIGHTS.values()))
    assert result["count"] == expected_count and result["count"].dtype == np.int64


def test_the_order_of_arrival_does_not_matter_to_a_single_bit(layout, update):
    results = {mean(layout, update, arrival).tobytes() for arrival in itertools.permutations(NAMES)}
    assert len(results) == 1


@pytest.mark.parametrize("skipped", NAMES)
def test_a_clinic_left_out_counts_for_nothing(layout, update, skipped):
    results = {mean(layout, update, a, [skipped]).tobytes() for a in itertools.permutations(NAMES)}
    assert len(results) == 1
    rest = OrderedMean(layout, [n for n in NAMES if n != skipped])
    for name in NAMES:
        if name != skipped:
            rest.add(name, update(NAMES.index(name), 10 + NAMES.index(name)), WEIGHTS[name])
    assert rest.result().tobytes() == results.pop()


def test_an_update_waits_in_its_file_and_the_file_goes_when_it_is_summed(layout, update):
    found = OrderedMean(layout, NAMES)
    late, first = update(2), update(0)
    found.add("cleo", late, 1.0)
    assert late.exists()  # not its turn
    found.add("anna", first, 1.0)
    assert not first.exists() and late.exists()
    found.skip("bert")
    assert not late.exists()


def test_the_mean_of_nobody_is_an_error(layout):
    found = OrderedMean(layout, NAMES)
    for name in NAMES:
        found.skip(name)
    with pytest.raises(ValueError, match="no update"):
        found.result()


def test_one_clinic_alone_gives_its_own_model_back(layout, packed, update):
    found = OrderedMean(layout, ["anna"])
    found.add("anna", update(5, count=3), 1.0)
    assert found.result().tobytes() == packed(5, 3).tobytes()


def test_fedavg_weights_by_examples(layout, update):
    average = strategy("fedavg")(layout, NAMES)
    for name in reversed(NAMES):
        average.add(name, update(NAMES.index(name), 10 + NAMES.index(name)), int(WEIGHTS[name]))
    assert average.result().tobytes() == mean(layout, update, NAMES).tobytes()
