"""A strategy's state across rounds, the choice of the final model and the end of a run, with stand-ins for clinics."""

import itertools
import json
from typing import Any

import numpy as np
import pytest

from embryofl_server.federation.strategies.base import STRATEGIES, Aggregation, Strategy
from embryofl_server.federation.strategies.fedavg import FedAvg
from embryofl_server.runs.view import RunView
from kits.rounds import LAYOUT, NAMES, events, once


# -- state of strategies ------------------------------------------------------------------------------------------------
class Drift(Strategy):
    """A strategy with state: adds a number to the mean that doubles each round."""

    def aggregate(self, round_: Any, state: Any) -> Aggregation:
        mean = FedAvg(self._settings).aggregate(round_, {})
        step = 2 * state["step"] if state else np.ones((2, 3), np.float32)
        for view in LAYOUT.section_views(mean.model):
            view += view.dtype.type(step[0, 0])
        return Aggregation(mean.model, {"step": step, "rounds": np.array(round_.number)})


@pytest.fixture
def drift(monkeypatch):
    monkeypatch.setitem(STRATEGIES, "drift", Drift)


def test_state_of_a_strategy_is_part_of_the_checkpoint(stage, drift, layout):
    staged = stage(rounds=4, strategy="drift")
    expected = staged.go()
    state = staged.checkpoints.latest().state()
    assert state["step"].tolist() == [[8.0] * 3] * 2 and state["step"].dtype == np.float32 and state["rounds"] == 4
    assert not list(stage(rounds=2).checkpoints._records.glob("*.state"))  # a strategy without state writes none
    for damage in ("state", "gone", "weights"):
        for number in (4, 3):
            path = staged.run.folder / f"round-{number:04}.state"
            if damage == "state":
                path.write_bytes(path.read_bytes()[:-1] + b"x")
            elif damage == "gone":
                path.unlink()
            else:
                staged.checkpoints.weights_path(number).write_bytes(b"x")
        assert staged.checkpoints.latest().round == 2
        assert staged.go() == expected  # resumed with the state of round 2


# -- the end ------------------------------------------------------------------------------------------------------------
def test_final_evaluation_without_a_quorum_keeps_the_model_and_reports_the_missing_clinics(stage, layout):
    staged = stage(rounds=1, round_deadline_s=0.1, grace_s=0.1)

    def fault(kind: str, name: str, round_: int) -> Any:
        return "silent" if kind == "reply" and name != "anna" and len(staged.fleet.sent) > 3 else None

    staged.fleet.fault = fault
    model = staged.go()
    layout.check(np.frombuffer(model, np.uint8))
    record = json.loads((staged.run.folder / "model.json").read_text())
    assert set(record["evaluation"]) == {"anna"} and record["refused"] == {"bert": "late", "cleo": "late"}
    assert (
        "final evaluation" in staged.message
        and "bert, cleo" in staged.message
        and record["incomplete"] == staged.message
    )


def test_clinics_that_go_offline_before_the_final_evaluation_cost_only_the_evaluation(stage, layout):
    staged = stage(rounds=1, join_wait_s=0.2)

    def fault(kind: str, name: str, round_: int) -> Any:
        if kind == "reply" and name == "cleo":
            staged.fleet.online = {"anna"}
        return None

    staged.fleet.fault = fault
    layout.check(np.frombuffer(staged.go(), np.uint8))
    assert "1 of at least 3" in staged.message


@pytest.mark.report
def test_run_killed_just_before_its_end_writes_the_same_results_and_card_again(stage):
    staged = stage()
    staged.go()
    names = ("model.json", "results.json", "model-card.json", "model-card.md", "model-card.html")
    before = {name: (staged.run.folder / name).read_bytes() for name in names}
    (staged.run.folder / "model-card.html").unlink()
    staged.run.set_state("running", 2)
    staged.go()
    assert {name: (staged.run.folder / name).read_bytes() for name in names} == before


def test_final_evaluation_can_be_turned_off(stage):
    model = stage(rounds=2).go()
    without = stage(rounds=2, closing_evaluation=False)
    sent_before = len(without.fleet.sent)
    assert without.go() == model and len(without.fleet.sent) - sent_before == 2 * len(NAMES)
    assert json.loads((without.run.folder / "model.json").read_text())["evaluation"] == {}
    assert "without final evaluation" in without.message


# -- during the run -----------------------------------------------------------------------------------------------------
def test_audit_log_has_each_round_with_the_model_sent_and_the_model_made(stage):
    staged = stage(quorum=2)
    staged.fleet.fault = once("reply", "bert", 2, "nan")
    staged.go()
    lines = [d for e, d in staged.audit if e == "round"]
    shas = [r["sha256"] for r in staged.checkpoints.records()]
    assert [(d["model_sent"], d["model_made"]) for d in lines] == list(itertools.pairwise(shas))
    assert [d["clinics"] for d in lines] == [NAMES, ["anna", "cleo"], NAMES]
    assert [d["refused"] for d in lines] == [{}, {"bert": "not_finite"}, {}]


def test_progress_shows_which_clinics_are_awaited_since_and_until_when_and_what_follows(stage):
    staged = stage(rounds=1, quorum=2, round_deadline_s=0.6, grace_s=50)
    staged.fleet.fault = once("reply", "bert", 1, "silent")
    snapshots: list[dict[str, Any]] = []
    real = staged.progress.wait
    staged.progress.wait = lambda *a, **k: (real(*a, **k), snapshots.append(staged.progress.snapshot()))
    staged.go()
    snapshots = [x for x in snapshots if x["phase"] == "training"]
    first, last = snapshots[0]["waiting"], snapshots[-1]["waiting"]
    assert first["for_"] == NAMES and "unless 2 clinics have replied" in first["then"]
    assert first["until"] - first["since"] == pytest.approx(50.6)
    assert last["for_"] == ["bert"] and last["then"] == "the round ends without them"
    assert last["until"] - last["since"] == pytest.approx(0.6) == snapshots[-1]["deadline_s"]


@pytest.mark.parametrize(
    ("right", "chosen"), [([5, 9, 6, 7], 1), ([5, 6, 7, 9], 3), ([5, 9, 9, 9], 1), ([9, 5, 6, 7], 0)]
)
def test_final_model_is_that_of_the_best_round_and_no_other_is_tested(stage, right, chosen):
    staged = stage(choose="best")
    staged.fleet.right = dict(enumerate(right))
    model = staged.go()
    assert model == staged.checkpoints.weights_path(chosen).read_bytes()
    assert json.loads((staged.run.folder / "model.json").read_text())["round"] == chosen
    assert {a for a in staged.fleet.asked if a[0] != "train"} == {("validate", 3), ("evaluate", chosen)}
    lines = [(x["round"], x["clinic"], x["split"], x["day"]) for x in RunView(staged.run).lines()]
    assert len(set(lines)) == len(lines)
    staged.fleet.right = {}


def test_final_model_is_by_default_the_last_one(stage):
    staged = stage()
    staged.fleet.right = dict(enumerate([5, 9, 6, 7]))
    assert staged.go() == staged.checkpoints.weights_path(3).read_bytes()
    assert ("validate", 3) not in staged.fleet.asked


def test_training_ends_early_if_validation_stops_improving(stage):
    staged = stage(rounds=9, patience=2, choose="best")
    staged.fleet.right = dict(enumerate([5, 6, 9, 7, 8, 9, 10, 10, 10, 10]))
    assert staged.go() == staged.checkpoints.weights_path(2).read_bytes()
    stopped = [e for e in events(staged.run) if e["kind"] == "stopped_early"]
    assert [(e["round"], e["best"]) for e in stopped] == [(5, 2)]  # the metrics of round 4's model came with round 5
    assert max(r for k, r in staged.fleet.asked if k == "train") == 5


def test_missing_weights_of_the_best_round_are_reported(stage):
    staged = stage(choose="best")
    staged.fleet.right = dict(enumerate([5, 9, 6, 7]))
    staged.fleet.fault = lambda kind, name, round_: (
        staged.checkpoints.weights_path(1).unlink(missing_ok=True) if (kind, round_) == ("send", 3) else None
    )
    assert staged.go() == staged.checkpoints.weights_path(3).read_bytes()
    assert "round 1, is damaged or missing" in staged.message


def test_each_clinic_is_sent_its_own_drift_correction_even_after_it_missed_a_round(stage):
    staged, seen = stage(strategy="scaffold", quorum=2, round_deadline_s=0.3, strategy_settings={}), []

    def fault(kind, name, round_):
        if kind == "reply":
            sent = sorted(p.name for p in staged.checkpoints.weights_path(0).parent.glob("*-for-*"))
            seen.append((round_, name, f"round-{round_:04d}-for-{name}.safetensors" in sent))
            return "silent" if (name, round_) == ("bert", 2) else None
        return None

    staged.fleet.fault = fault
    staged.go()
    assert set(seen[:-3]) == {(r, n, r > 1) for r in (1, 2, 3) for n in NAMES}
    assert set(seen[-3:]) == {(3, n, False) for n in NAMES}  # the final evaluation needs no correction
    # The bytes fetched are recorded for the metrics: none in round 1, then one file per clinic that replied.
    fetched = [e.get("control_bytes", {}) for e in events(staged.run) if e["kind"] == "round"]
    assert fetched == [{}, dict.fromkeys(["anna", "cleo"], LAYOUT.size), dict.fromkeys(NAMES, LAYOUT.size)]
    assert not list(staged.checkpoints.weights_path(0).parent.glob("*-for-*"))
