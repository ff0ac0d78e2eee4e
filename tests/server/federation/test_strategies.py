"""Strategies: each compared with its formula worked out by hand, and properties of all of them."""

import itertools
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from embryofl.local_work import local_steps, local_travel
from embryofl.settings import RunSettings, TrainSettings
from embryofl.wire import Layout
from embryofl_server.federation.run_settings import check_settings
from embryofl_server.federation.strategies import blocks as blocks_module
from embryofl_server.federation.strategies import make_strategy, strategy_names
from embryofl_server.federation.strategies.base import ClinicUpdate, Round
from embryofl_server.federation.strategies.geometric_median import weiszfeld
from embryofl_server.federation.strategies.trimmed_mean import trimmed

TOY = Layout.of({"x": ("F64", (2,)), "count": ("I64", ())})
NAMES = [f"clinic-{i}" for i in range(9)]


@pytest.fixture
def toy(tmp_path):
    """`toy(points, examples=None, scales=None)`: a round whose updates are points of the plane; the model is (0, 0)."""

    def make(points, examples=None, scales=None, counts=None) -> Round:
        model = TOY.empty()
        TOY.tensor_views(model)["x"][:] = 0
        TOY.tensor_views(model)["count"][...] = 0
        updates = []
        for i, point in enumerate(points):
            state = TOY.empty()
            TOY.tensor_views(state)["x"][:] = point
            TOY.tensor_views(state)["count"][...] = counts[i] if counts else 10
            path = tmp_path / NAMES[i]
            state.tofile(path)
            norm = float(np.linalg.norm(point))
            updates.append(
                ClinicUpdate(NAMES[i], path, examples[i] if examples else 10, norm, scales[i] if scales else 1.0)
            )
        return Round(1, TOY, model, updates, 0.1)

    return make


def run(name, round_, **settings):
    made = make_strategy(RunSettings(strategy=name, strategy_settings=settings)).aggregate(round_, {})
    return TOY.tensor_views(made.model)["x"].tolist(), made


# -- each strategy ------------------------------------------------------------------------------------------------------
def test_fedavg_is_the_mean_weighted_by_examples(toy):
    point, made = run("fedavg", toy([(1, 0), (4, 8)], examples=[30, 10]))
    assert point == [(30 * 1 + 10 * 4) / 40, 10 * 8 / 40]
    assert made.shares == {"clinic-0": 0.75, "clinic-1": 0.25}


def test_clipped_fedavg_clips_to_the_given_bound(toy):
    point, _ = run("clipped_fedavg", toy([(3, 4), (0, 1)]), max_norm=2.5)  # norms 5 and 1
    assert point == pytest.approx([(1.5 + 0) / 2, (2 + 1) / 2])


def test_clipped_fedavg_clips_by_default_to_the_median_of_the_round(toy):
    point, _ = run("clipped_fedavg", toy([(0, 1), (2, 0), (30, 40)], examples=[1, 1, 2]))  # norms 1, 2, 50
    assert point == pytest.approx([(2 + 2 * 2 * 0.6) / 4, (1 + 2 * 2 * 0.8) / 4])
    point, _ = run("clipped_fedavg", toy([(0, 0), (0, 0), (9, 9)]))  # a median of zero clips everything to zero
    assert point == [0, 0]


def test_clipped_fedavg_clips_after_the_gate(toy):
    point, _ = run("clipped_fedavg", toy([(10, 0), (1, 0), (1, 0)], scales=[0.5, 1.0, 1.0]), max_norm=4)
    assert point == pytest.approx([(4 + 1 + 1) / 3, 0])


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(0, 5), (1, 1), (9, 2)], [1, 2]),
        ([(0, 5), (1, 1), (9, 2), (3, 4)], [2, 3]),  # the mean of the middle two
        ([(1, 1), (1, 1), (1e30, -1e30)], [1, 1]),
    ],
)
def test_median_is_taken_of_each_coordinate(toy, points, expected):
    assert run("median", toy(points))[0] == expected


def test_trimmed_mean_excludes_both_ends_of_each_coordinate(toy):
    points = [(1, 50), (2, 40), (3, 30), (4, 20), (1e9, -1e9)]
    assert run("trimmed_mean", toy(points))[0] == [(2 + 3 + 4) / 3, (20 + 30 + 40) / 3]
    assert run("trimmed_mean", toy(points), trim=0.4)[0] == [3, 30]  # two at each end: the median


@pytest.mark.parametrize(
    ("clinics", "trim", "out"),
    [(3, 0.2, 1), (4, 0.2, 1), (5, 0.2, 1), (6, 0.2, 2), (10, 0.2, 2), (10, 0.45, 4), (4, 0.49, 1), (100, 0.01, 1)],
)
def test_trimmed_mean_excludes_at_least_one_at_each_end_and_keeps_at_least_one(clinics, trim, out):
    assert trimmed(clinics, trim) == out


CROWD = [(0, 0), (1, 0), (0, 1), (1, 1), (0.5, 0.4), (100, 100)]  # five close together and one far away


def krum_by_hand(points, attackers):
    scores = []
    for i, p in enumerate(points):
        distances = sorted(sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) for j, q in enumerate(points) if i != j)
        scores.append(sum(distances[: len(points) - attackers - 2]))
    return scores


def test_krum_takes_the_update_with_the_lowest_score(toy):
    scores = krum_by_hand(CROWD, 1)
    point, made = run("krum", toy(CROWD))
    assert point == list(CROWD[scores.index(min(scores))]) == [0.5, 0.4]
    assert made.shares == {n: float(n == "clinic-4") for n in NAMES[:6]}
    seven = [*CROWD, (100, 101)]
    assert run("krum", toy(seven), attackers=2)[0] == list(seven[int(np.argmin(krum_by_hand(seven, 2)))])


def test_krum_takes_the_first_by_name_of_equal_scores(toy):
    assert run("krum", toy([(5, 5), (1, 1), (1, 1), (1, 1), (1, 1)]))[1].shares["clinic-1"] == 1.0


def test_multi_krum_is_the_mean_of_the_updates_with_the_lowest_scores(toy):
    order = np.argsort(krum_by_hand(CROWD, 1), kind="stable")
    for keep in (0, 2, 3):
        chosen = [CROWD[i] for i in order[: keep or 3]]  # 0: n - f - 2
        point, made = run("multi_krum", toy(CROWD, examples=[1, 2, 3, 4, 5, 10**6]), keep=keep)
        assert point == pytest.approx(np.mean(chosen, axis=0))
        assert made.shares["clinic-5"] == 0.0 and sum(made.shares.values()) == pytest.approx(1)


def test_geometric_median_is_the_point_nearest_to_all(toy):
    """For a triangle with no angle of 120 degrees or more it is the Fermat point; for a cross its middle."""
    side = [(0, 0), (2, 0), (1, 3**0.5)]
    point, _ = run("geometric_median", toy(side), iterations=100)
    assert point == pytest.approx([1, 3**0.5 / 3], abs=1e-6)
    cross = [(0, 0), (10, 0), (4, 3), (4, -7)]  # two segments that cross in (4, 0)
    point, _ = run("geometric_median", toy(cross), iterations=200)
    assert point == pytest.approx([4, 0], abs=1e-3)


def test_geometric_median_of_a_majority_in_one_place_is_that_place(toy):
    point, made = run("geometric_median", toy([(1, 1), (1, 1), (1, 1), (1e6, 0), (0, -1e6)]))
    assert point == pytest.approx([1, 1], abs=1e-3)
    assert made.shares["clinic-3"] < 1e-6


def test_weiszfeld_on_numbers_follows_the_papers_steps():
    points = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]])
    z = points.mean(axis=0)
    for _ in range(3):
        nearness = 1 / np.maximum(1e-6, np.linalg.norm(points - z, axis=1))
        z = nearness @ points / nearness.sum()
    assert weiszfeld(points @ points.T, 3, 1e-6) @ points == pytest.approx(z)


ADAPTIVE = ("fedadam", "fedyogi", "fedadagrad")
ROUNDS = [[(1.0, -2.0), (3.0, 0.0)], [(0.5, 0.5), (0.1, -3.0)], [(-4.0, 1.0), (0.0, 0.0)]]


def by_the_paper(name, eta, tau):
    """Reddi et al. 2021, algorithm 2, with the mean of the two clinics' updates."""
    x, m, v = np.zeros(2), np.zeros(2), np.full(2, tau**2)
    for points in ROUNDS:
        delta = np.mean(points, axis=0) - x
        m = 0.9 * m + 0.1 * delta
        if name == "fedadagrad":
            v = v + delta**2
        elif name == "fedyogi":
            v = v - 0.01 * delta**2 * np.sign(v - delta**2)
        else:
            v = 0.99 * v + 0.01 * delta**2
        x = x + eta * m / (np.sqrt(v) + tau)
    return x


def aggregate_rounds(name, toy, rounds, **settings):
    """Aggregate rounds one after the other, each by a new strategy with the state that the one before returned."""
    model, state = None, {}
    for points in rounds:
        round_ = toy(points)
        round_ = replace(round_, model=round_.model if model is None else model)
        made = make_strategy(RunSettings(strategy=name, strategy_settings=settings)).aggregate(round_, state)
        model, state = made.model, made.state
    return TOY.tensor_views(model)["x"], state


@pytest.mark.parametrize("name", ADAPTIVE)
def test_adaptive_optimisers_follow_the_papers_steps(name, toy):
    point, state = aggregate_rounds(name, toy, ROUNDS, server_learning_rate=0.5, tau=0.01)
    assert point == pytest.approx(by_the_paper(name, 0.5, 0.01), rel=1e-6)
    assert {k: (a.dtype, a.shape) for k, a in state.items()} == {k: (np.float32, (2,)) for k in ("first", "second")}


def test_fedavgm_keeps_its_momentum(toy):
    point, _ = aggregate_rounds("fedavgm", toy, [[(1, 2)], [(1, 2)], [(4, 2)]], momentum=0.5, server_learning_rate=0.8)
    x, v = np.zeros(2), np.zeros(2)
    for target in ((1, 2), (1, 2), (4, 2)):
        v = 0.5 * v + (np.array(target) - x)
        x = x + 0.8 * v
    assert point == pytest.approx(x, rel=1e-6)
    assert (
        run("fedavgm", toy([(1, 0), (4, 8)], examples=[30, 10]), momentum=0)[0]
        == run("fedavg", toy([(1, 0), (4, 8)], examples=[30, 10]))[0]
    )


def test_fednova_weights_directions_whatever_the_number_of_steps(toy):
    round_ = toy([(8, 0), (0, 1)], examples=[30, 10])
    updates = [replace(u, steps=s) for u, s in zip(round_.updates, (8, 2), strict=True)]
    point, made = run("fednova", replace(round_, updates=updates))
    tau = (30 * 8 + 10 * 2) / 40  # mean steps
    assert point == pytest.approx([tau * 0.75 * 8 / 8, tau * 0.25 * 1 / 2])
    assert made.shares == {"clinic-0": pytest.approx(3.75 / 8.75), "clinic-1": pytest.approx(5 / 8.75)}
    equal_steps = replace(round_, updates=[replace(u, steps=5) for u in round_.updates])
    assert run("fednova", equal_steps)[0] == pytest.approx(run("fedavg", round_)[0])


def test_local_steps_equal_those_of_local_training():
    assert local_steps(TrainSettings(local_epochs=3, batch_size=32), 65) == 9
    momentum = TrainSettings(local_epochs=1, batch_size=1, optimiser="sgd")
    by_hand = sum(0.9**k for left in range(4) for k in range(left + 1))  # each gradient counts in all later steps
    assert local_steps(momentum, 4) == pytest.approx(by_hand)


def test_local_travel_is_the_sum_of_the_learning_rates_of_all_steps():
    settings = TrainSettings(local_epochs=3, batch_size=32, learning_rate=0.01)
    assert local_travel(settings, 65, 0.5) == pytest.approx(9 * 0.01 * 0.5)


def test_qfedavg_follows_the_papers_steps_and_favours_the_clinic_with_the_highest_loss(toy):
    round_ = toy([(1, 0), (0, 2)])
    updates = [replace(u, loss=loss) for u, loss in zip(round_.updates, (0.2, 0.9), strict=True)]
    point, made = run("qfedavg", replace(round_, updates=updates), q=2, lipschitz=3)
    steps = np.array([[0.2**2 * 3 * 1, 0], [0, 0.9**2 * 3 * 2]])
    bound = sum(2 * f * (3 * norm) ** 2 + 3 * f**2 for f, norm in ((0.2, 1), (0.9, 2)))
    assert point == pytest.approx(steps.sum(axis=0) / bound)
    assert made.shares["clinic-1"] == pytest.approx(0.81 / 0.85)
    same, _ = run("qfedavg", round_, q=0)
    assert same == pytest.approx([0.5, 1])


def test_fedprox_sets_the_proximal_term():
    assert check_settings({"strategy": "fedprox"}).training.proximal == 0.01
    assert check_settings({"strategy": "fedprox", "proximal": 0.3}).training.proximal == 0.3
    assert check_settings({}).training.proximal == 0


# -- all strategies -----------------------------------------------------------------------------------------------------
@pytest.fixture
def big(tmp_path, layout, packed):
    """`big(n)`: a round of n clinics with the tests' layout of several dtypes."""

    def make(clinics: int) -> Round:
        updates = []
        for i in range(clinics):
            path = tmp_path / f"big-{i}"
            packed(i, count=10 + i).tofile(path)
            updates.append(ClinicUpdate(NAMES[i], path, 10 + i, 1.0 + i))
        return Round(3, layout, packed(99, count=7), updates, 0.1)

    return make


@pytest.mark.parametrize("name", strategy_names())
def test_result_has_the_layout_of_the_model_and_keeps_integers(name, big, layout):
    made = make_strategy(RunSettings(strategy=name)).aggregate(big(7), {})
    layout.check(made.model)
    views = layout.tensor_views(made.model)
    assert views["count"].dtype == np.int64 and 7 <= views["count"] <= 16  # between model and updates
    assert all(np.isfinite(v).all() for v in views.values())
    assert not made.shares or sum(made.shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("name", [n for n in strategy_names() if n not in (*ADAPTIVE, "qfedavg", "feddyn")])
def test_equal_updates_give_that_update(name, toy):
    assert run(name, toy([(3.5, -2)] * 5))[0] == pytest.approx([3.5, -2], rel=1e-12)


@pytest.mark.parametrize("name", strategy_names())
def test_block_size_does_not_change_the_result(name, big, layout, monkeypatch):
    large = make_strategy(RunSettings(strategy=name)).aggregate(big(7), {}).model
    monkeypatch.setattr(blocks_module, "BLOCK_BYTES", 8)
    monkeypatch.setattr(blocks_module, "LEAST_NUMBERS", 3)
    small = make_strategy(RunSettings(strategy=name)).aggregate(big(7), {}).model
    for a, b in zip(layout.section_views(large), layout.section_views(small), strict=True):
        np.testing.assert_allclose(a.astype(float), b.astype(float), rtol=1e-3)


def test_fedavg_sums_in_the_order_of_names_to_the_last_bit(big, layout):
    """Resuming and `make compare` depend on it."""
    round_ = big(4)
    states = [np.fromfile(u.path, np.uint8) for u in round_.updates]
    expected = layout.empty()
    for part in range(len(layout.sections)):
        total = np.zeros(layout.section_views(states[0])[part].size)
        for u, state in zip(round_.updates, states, strict=True):
            total += layout.section_views(state)[part].astype(np.float64) * u.examples
        mean = total / sum(u.examples for u in round_.updates)
        out = layout.section_views(expected)[part]
        out[:] = mean if out.dtype.kind == "f" else np.rint(mean)
    assert make_strategy(RunSettings()).aggregate(round_, {}).model.tobytes() == expected.tobytes()


def test_fedavg_of_one_clinic_is_its_update(big, packed):
    assert make_strategy(RunSettings()).aggregate(big(1), {}).model.tobytes() == packed(0, 10).tobytes()


def test_clipped_update_counts_with_its_scale(toy):
    assert run("fedavg", toy([(10, 0), (0, 2)], scales=[0.1, 1.0]))[0] == pytest.approx([0.5, 1])


def test_round_without_examples_is_an_error(toy):
    with pytest.raises(ValueError, match="no update"):
        run("fedavg", toy([(1, 1)], examples=[0]))


@pytest.mark.parametrize("name", strategy_names())
def test_memory_does_not_grow_with_the_number_of_clinics(name, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks_module, "BLOCK_BYTES", 1 << 20)
    monkeypatch.setattr(blocks_module, "LEAST_NUMBERS", 1 << 13)
    layout = Layout.of({"w": ("F32", (250_000,))})  # 1 MB
    state = layout.empty()
    layout.tensor_views(state)["w"][:] = 1
    peaks = []
    for clinics in (5, 30):
        updates = []
        for i in range(clinics):
            state.tofile(tmp_path / f"{i}")
            updates.append(ClinicUpdate(f"c{i:03}", tmp_path / f"{i}", 10, 1.0))
        tracemalloc.start()
        make_strategy(RunSettings(strategy=name)).aggregate(Round(1, layout, state, updates, 0.1), {})
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 4 * layout.size + (6 << 20) and peaks[1] < peaks[0] + (3 << 20)


def test_order_of_updates_does_not_change_the_result(toy):
    """The exchange sorts updates by name; apart from rounding, a strategy does not depend on their order."""
    points = [(1, 2), (3, 5), (2, 9)]
    for name in ("median", "trimmed_mean", "geometric_median"):
        results = {tuple(np.round(run(name, toy(list(p)))[0], 9)) for p in itertools.permutations(points)}
        assert len(results) == 1
