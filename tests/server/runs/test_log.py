"""Runs on disk."""

import json

from embryofl.settings import RunSettings
from embryofl_server.runs.log import Runs
from embryofl_server.runs.view import RunView


def test_runs_are_numbered_and_kept(tmp_path):
    runs = Runs(tmp_path / "runs")
    assert runs.latest() is None and runs.next() is None and runs.current() is None
    first = runs.create(RunSettings(rounds=3, seed=7))
    assert runs.all() == []  # a run without a state does not count
    first.set_state("queued", 0)
    second = runs.create(RunSettings())
    second.set_state("running", 4, "why")
    again = Runs(tmp_path / "runs")
    assert [r.name for r in again.all()] == ["run-0001", "run-0002"]
    assert again.all()[0].settings == RunSettings(rounds=3, seed=7)
    assert again.latest().state["round"] == 4 and again.latest().state["reason"] == "why"


def test_oldest_unfinished_run_is_resumed_first(tmp_path):
    runs = Runs(tmp_path)
    for state in ("finished", "failed", "stopped", "paused", "waiting", "queued"):
        runs.create(RunSettings()).set_state(state, 0)
    assert runs.next().name == runs.current().name == "run-0005"
    for name in ("run-0005", "run-0006"):
        runs.get(name).set_state("finished", 1)
    assert runs.next() is None and runs.current().name == "run-0006"


def test_name_of_a_run_interrupted_during_creation_is_not_reused(tmp_path):
    runs = Runs(tmp_path)
    runs.create(RunSettings())  # no state
    assert runs.create(RunSettings()).name == "run-0002"


def test_events_are_appended_and_metrics_replaced(tmp_path):
    run = Runs(tmp_path).create(RunSettings())
    assert RunView(run).lines() == []
    run.event("round", round=1)
    run.event("round", round=2)
    lines = [{"round": 1, "loss": 0.5}, {"round": 2, "loss": 0.4}]
    run.rewrite_metrics([{"round": 9}])
    run.rewrite_metrics(lines)
    assert RunView(run).lines() == lines
    run.add_metrics([{"round": 3, "loss": 0.3}])
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"round": 4, "lo')  # torn by a kill
    assert RunView(run).lines() == [*lines, {"round": 3, "loss": 0.3}]
    assert [json.loads(x)["round"] for x in (run.folder / "events.jsonl").read_text().splitlines()] == [1, 2]


def test_newest_line_of_each_kind(tmp_path):
    run = Runs(tmp_path).create(RunSettings())
    run.set_state("running", 0)
    view = RunView(run)
    newest = lambda: list(view.refresh().newest_lines().values())  # noqa: E731
    assert newest() == []
    line = lambda r, **k: {"round": r, "clinic": "anna", "split": "train", "day": None, **k}  # noqa: E731
    run.add_metrics([line(1), line(1, split="validation"), line(1, clinic="bert")])
    run.add_metrics([line(2)])
    assert newest() == [line(1, split="validation"), line(1, clinic="bert"), line(2)]
    run.add_metrics([line(3)])
    assert newest()[-1] == line(3) and len(newest()) == 3
    run.rewrite_metrics([line(1)])  # resumed
    assert newest() == [line(1)]
