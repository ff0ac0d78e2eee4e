"""SCAFFOLD, FedDyn and FedEmbryo over several rounds, compared with the papers' formulas. Between two rounds all state goes
through a checkpoint on disk, as after a restart of the hub."""

import math

import numpy as np
import pytest

from embryofl.settings import RunSettings
from embryofl.wire import Layout
from embryofl_server.federation.checkpoint import Checkpoints
from embryofl_server.federation.run_settings import check_settings
from embryofl_server.federation.strategies import make_strategy
from embryofl_server.federation.strategies.base import ClinicUpdate, Round

LAYOUT = Layout.of({"x": ("F32", (2,)), "count": ("I64", ())})
ALPHA = 0.25


@pytest.fixture
def federation(tmp_path):
    """`federation(name).round(points, ...)`: one more round from the newest checkpoint; returns the model and the rest."""

    class Federation:
        def __init__(self, name, **settings):
            self.settings = RunSettings(strategy=name, strategy_settings=settings)
            self.number = 0
            self.folder = Checkpoints(tmp_path / f"records-{name}", tmp_path / f"weights-{name}", 3)
            first = LAYOUT.empty()
            LAYOUT.tensor_views(first)["x"][:] = 0
            LAYOUT.tensor_views(first)["count"][...] = 0
            (tmp_path / f"records-{name}").mkdir()
            (tmp_path / f"weights-{name}").mkdir()
            self.folder.save(0, first, {})

        def control(self, clinic):
            latest = self.folder.latest()
            packed = make_strategy(self.settings).control(LAYOUT, latest.state(), clinic)
            return None if packed is None else LAYOUT.tensor_views(packed)["x"].astype(float)

        def round(self, points, examples=10, travel=1.0, losses=None):
            latest = self.folder.latest()
            updates = []
            for name, point in sorted(points.items()):
                state = LAYOUT.empty()
                LAYOUT.tensor_views(state)["x"][:] = point
                LAYOUT.tensor_views(state)["count"][...] = 5
                state.tofile(tmp_path / name)
                n = examples[name] if isinstance(examples, dict) else examples
                updates.append(
                    ClinicUpdate(name, tmp_path / name, n, 1.0, travel=travel, train_loss=(losses or {}).get(name))
                )
            round_ = Round(latest.round + 1, LAYOUT, latest.packed(), updates, ALPHA)
            made = make_strategy(self.settings).aggregate(round_, latest.state())
            self.folder.save(latest.round + 1, made.model, {}, made.state)
            return LAYOUT.tensor_views(made.model)["x"].astype(float), made

    return Federation


STAYS = [{"a": (1.0, -2.0), "b": (3.0, 0.5)}, {"a": (0.5, 0.5), "b": (0.25, -3.0)}, {"a": (-4.0, 1.0), "b": (0.0, 2.0)}]


def test_scaffold_follows_the_papers_algorithm(federation):
    run, x, c, variates = federation("scaffold"), np.zeros(2), np.zeros(2), {"a": np.zeros(2), "b": np.zeros(2)}
    assert run.control("a") is None
    for points in STAYS:
        plus = {n: variates[n] - c + (x - np.array(p)) / 0.5 for n, p in points.items()}  # option II, K eta = 0.5
        c = c + sum(plus[n] - variates[n] for n in plus) / 2
        x, variates = sum(map(np.array, points.values())) / 2, plus
        point, made = run.round(points, travel=0.5)
        assert point == pytest.approx(x)
        assert run.control("a") == pytest.approx(c - variates["a"], rel=1e-5)
        assert run.control("b") == pytest.approx(c - variates["b"], rel=1e-5)
    assert made.shares == {"a": 0.5, "b": 0.5}


def test_scaffold_keeps_the_variate_of_a_clinic_that_misses_rounds_and_accepts_a_late_one(federation):
    run = federation("scaffold")
    run.round({"a": (1.0, 0.0), "b": (0.0, 2.0)})  # c_a = -(1, 0), c_b = -(0, 2)
    x, _ = run.round({"b": (0.5, 1.0)})  # a is away; x was (0.5, 1), so b's new variate is c_b - c
    variates = {"a": np.array([-1.0, 0.0]), "b": np.array([0.0, -2.0]) - np.array([-0.5, -1.0])}
    assert run.control("a") == pytest.approx(sum(variates.values()) / 2 - variates["a"])
    assert run.control("late") == pytest.approx(
        sum(variates.values()) / 2
    )  # corrected by the others' variates before its first round
    c = sum(variates.values()) / 2
    run.round({"a": (0.5, 1.0), "b": (0.5, 1.0), "late": (2.5, 1.0)})
    variates = {"a": variates["a"] - c, "b": variates["b"] - c, "late": -c + (np.array(x) - [2.5, 1.0])}
    assert run.control("late") == pytest.approx(sum(variates.values()) / 3 - variates["late"], rel=1e-5)


def test_scaffold_weights_variates_like_the_model_so_that_they_cancel_out(federation):
    run, weights = federation("scaffold"), {"a": 30, "b": 10}
    run.round(STAYS[0], examples=weights)
    total = sum(weights[n] * run.control(n) for n in weights)
    assert total == pytest.approx([0, 0], abs=1e-5)


def test_feddyn_follows_the_papers_algorithm(federation):
    run, x, h, g = federation("feddyn"), np.zeros(2), np.zeros(2), {"a": np.zeros(2), "b": np.zeros(2)}
    assert run.control("a") is None
    for points in STAYS:
        theta = {n: np.array(p) for n, p in points.items()}
        g = {n: g[n] - ALPHA * (theta[n] - x) for n in g}
        h = h - ALPHA * sum(theta[n] - x for n in theta) / 2
        x = sum(theta.values()) / 2 - h / ALPHA
        assert run.round(points)[0] == pytest.approx(x, rel=1e-5)
        assert run.control("a") == pytest.approx(-g["a"], rel=1e-5)  # added to the gradient of the loss


def test_feddyn_with_a_clinic_away_keeps_its_part_of_h(federation):
    run = federation("feddyn")
    x, _ = run.round({"a": (1.0, 0.0), "b": (0.0, 2.0)})
    g = {"a": -ALPHA * np.array([1.0, 0.0]), "b": -ALPHA * np.array([0.0, 2.0])}
    assert x == pytest.approx(np.array([0.5, 1.0]) - (g["a"] + g["b"]) / 2 / ALPHA)
    new, _ = run.round({"b": (3.0, 3.0)})
    g["b"] = g["b"] - ALPHA * (np.array([3.0, 3.0]) - x)
    assert new == pytest.approx(np.array([3.0, 3.0]) - (g["a"] + g["b"]) / 2 / ALPHA)
    assert run.control("a") == pytest.approx(-g["a"])


def test_drift_correction_has_the_layout_of_the_run_and_leaves_counters_unchanged(federation):
    run = federation("scaffold")
    run.round(STAYS[0])
    packed = make_strategy(run.settings).control(LAYOUT, run.folder.latest().state(), "a")
    LAYOUT.check(packed)
    assert LAYOUT.tensor_views(packed)["count"] == 0


def test_drift_corrections_are_removed_when_the_round_is_saved(federation, tmp_path):
    run = federation("scaffold")
    run.round(STAYS[0])
    packed = make_strategy(run.settings).control(LAYOUT, run.folder.latest().state(), "a")
    sent = run.folder.save_correction(2, "a", packed)
    assert sent.size == LAYOUT.size and list((tmp_path / "weights-scaffold").glob("*-for-a.safetensors"))
    run.round(STAYS[1])
    assert not list((tmp_path / "weights-scaffold").glob("*-for-*"))


def test_fedembryo_weighs_by_the_ratio_of_the_last_two_losses(federation):
    run = federation("fedembryo", temperature=4.0)
    points = {"a": (1.0, 0.0), "b": (0.0, 1.0)}
    assert run.round(points, losses={"a": 0.8, "b": 0.9}, examples={"a": 90, "b": 10})[0] == pytest.approx([0.5, 0.5])
    assert run.round(points, losses={"a": 0.4, "b": 0.9})[0] == pytest.approx([0.5, 0.5])  # the first two rounds
    a, b = math.exp(0.5 / 4), math.exp(1.0 / 4)  # 0.4 / 0.8, 0.9 / 0.9
    point, made = run.round(points, losses={"a": 0.4, "b": 0.45})
    assert point == pytest.approx([a / (a + b), b / (a + b)]) and made.shares["b"] == pytest.approx(b / (a + b))
    # in the next round a is late and c is new, without an earlier loss
    a, b, c = math.exp(0.4 / 0.4 / 4), math.exp(0.45 / 0.9 / 4), math.exp(1 / 4)
    point, made = run.round({**points, "c": (0.0, 0.0)}, losses={"a": 0.3, "b": 0.3, "c": 0.6})
    assert made.shares == {n: pytest.approx(v / (a + b + c)) for n, v in (("a", a), ("b", b), ("c", c))}


def test_strategy_decides_the_settings_of_drift_correction():
    assert check_settings({"strategy": "scaffold"}).control == "steps"
    assert check_settings({"strategy": "feddyn"}).proximal == 0.01
    assert check_settings({"strategy": "ditto"}).personal == "model"
    for values, words in (
        ({"control": "steps"}, "follows from the strategy"),
        ({"task_weights": "losses"}, "follows from the strategy"),
        ({"strategy": "scaffold", "control": ""}, "follows from the strategy"),
        ({"strategy": "feddyn", "proximal": 0}, "alpha"),
        ({"strategy": "ditto", "choose": "best"}, "choose=best"),
        ({"strategy": "fedbn", "model": "lite0"}, "small_cnn"),
    ):
        with pytest.raises(Exception, match=words):
            check_settings(values)
