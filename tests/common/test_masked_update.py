"""An update as a vector that can be masked, and back; weights and bound."""

import tracemalloc
from io import BytesIO

import numpy as np
import pytest

from embryofl.local_work import local_steps
from embryofl.masked_update import (
    WEIGHT_UNIT,
    count_alarms,
    count_clipped,
    difference,
    mean_scale,
    sum_weight,
    to_vector,
    update_bound,
    vector_length,
    write_mean,
)
from embryofl.secagg.messages import MAX_WEIGHT
from embryofl.settings import RunSettings
from embryofl.wire import Layout

LAYOUT = Layout.of({"wide": ("F64", (3,)), "count": ("I64", (2,)), "w": ("F32", (70_000,)), "half": ("F16", (5,))})
PER_STEP = RunSettings(masked_weights="examples_per_step")


def packed(seed):
    rng, state = np.random.default_rng(seed), LAYOUT.empty()
    for view in LAYOUT.section_views(state):
        view[:] = rng.standard_normal(view.size) if view.dtype.kind == "f" else seed
    return state


def moved_by(total, bound, model):
    """The model moved by the mean of a sum of all, and the mean's norm."""
    file = BytesIO()
    norm = write_mean(total, 1.0, bound, model, LAYOUT, file)
    return np.frombuffer(file.getvalue(), np.uint8), norm


def test_sum_of_vectors_moves_the_model_by_the_weighted_mean_and_keeps_integers():
    model, new = packed(0), {"a": packed(1), "b": packed(2)}
    share = {"a": 0.3, "b": 0.7}
    total = sum(to_vector(difference(new[n], model, LAYOUT), share[n], 1000.0) for n in new)
    moved, norm = moved_by(total, 1000.0, model)
    views = [LAYOUT.section_views(state) for state in (model, new["a"], new["b"], moved)]
    for old, a, b, made in zip(*views, strict=True):
        if old.dtype.kind == "f":
            tolerance = {2: 2e-3, 4: 3e-6, 8: 3e-6}[old.dtype.itemsize]
            expected = 0.3 * a.astype(np.float64) + 0.7 * b.astype(np.float64)
            assert np.allclose(made, expected, rtol=0, atol=tolerance)
        else:
            assert (made == old).all()
    mean = 0.3 * difference(new["a"], model, LAYOUT) + 0.7 * difference(new["b"], model, LAYOUT)
    assert norm == pytest.approx(np.linalg.norm(mean), rel=1e-6)
    assert total.size == vector_length(LAYOUT)


def test_mean_is_written_without_a_second_model_in_memory(tmp_path):
    layout = Layout.of({"w": ("F32", (1 << 21,))})
    total, model = np.zeros(vector_length(layout), "<u4"), layout.empty()
    tracemalloc.start()
    with (tmp_path / "mean").open("wb") as file:
        write_mean(total, 1.0, 1.0, model, layout, file)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < layout.size / 2


def test_clipped_updates_are_counted_and_no_longer_than_the_bound():
    model, far = packed(0), packed(1)
    update = difference(far, model, LAYOUT)
    total = to_vector(update, 0.5, 10.0) + to_vector(update * np.float32(1e-6), 0.5, 10.0)
    assert count_clipped(total) == 1
    assert moved_by(total, 10.0, model)[1] == pytest.approx(5.0, rel=1e-3)


def test_alarms_are_counted_and_move_nothing():
    update = difference(packed(1), packed(0), LAYOUT)
    quiet, total = (sum(to_vector(update, 0.5, 1e3, alarm=alarm) for alarm in (False, each)) for each in (False, True))
    assert count_alarms(total) == 1 and count_clipped(total) == 0
    assert (moved_by(total, 1e3, packed(0))[0] == moved_by(quiet, 1e3, packed(0))[0]).all()


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_update_that_is_not_finite_is_zeros_and_counts_as_clipped(number):
    update = difference(packed(1), packed(0), LAYOUT)
    update[7] = number
    total = to_vector(update, 0.5, 10.0)
    assert not total[:-2].any() and count_clipped(total) == 1


def test_weight_is_the_number_of_embryos_or_embryos_per_step():
    assert sum_weight(RunSettings(masked_weights="examples"), 120) == 120
    assert sum_weight(PER_STEP, 120) == round(WEIGHT_UNIT * 120 / local_steps(PER_STEP.training, 120))


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
@pytest.mark.parametrize("batch", [1, 1024])
def test_weights_of_any_clinic_can_be_told_to_others(optimiser, batch):
    settings = RunSettings(masked_weights="examples_per_step", batch_size=batch, optimiser=optimiser)
    assert all(1 <= sum_weight(settings, n) <= MAX_WEIGHT for n in (1, 33, 1024, 10**6))


def test_fednova_of_clinics_with_the_same_steps_is_the_mean():
    assert mean_scale(PER_STEP, [64, 64], [64, 64]) == pytest.approx(1.0)
    assert mean_scale(RunSettings(masked_weights="examples"), [64, 640], [64, 640]) == 1.0


def test_bound_is_how_far_local_training_can_go_and_at_most_the_strategys():
    settings = RunSettings(learning_rate=0.01, batch_size=10, local_epochs=1, schedule="constant")
    assert update_bound(settings, 1, LAYOUT, np.inf) == pytest.approx(100 * 0.01 * LAYOUT.floats**0.5)
    longer = settings.model_copy(update={"local_epochs": 4})
    assert update_bound(longer, 1, LAYOUT, np.inf) == pytest.approx(12 * 20 * 0.01 * LAYOUT.floats**0.5)
    assert update_bound(settings, 1, LAYOUT, 0.5) == 0.5
