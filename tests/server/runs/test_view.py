"""The view of a run's files: rounds, pace, curve, records, and reading while the files grow."""

import json
import threading

import pytest

from embryofl.errors import UserError
from embryofl.settings import RunSettings
from embryofl_server.runs.log import Runs
from embryofl_server.runs.tallies import LAST_ROUNDS, MOST_OF_CLINIC
from embryofl_server.runs.view import RunView, RunViews


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path / "runs")


@pytest.fixture
def run(runs):
    made = runs.create(RunSettings(rounds=50, local_epochs=2))
    made.set_state("running", 0)
    return made


def add_round(run, number, seconds=10.0, train=6.0, clinics=("anna",)):
    run.event("round", round=number, accepted=list(clinics), refused={}, seconds=seconds)
    head = {"round": number, "split": "train", "day": None, "loss": 0.5, "n": 10}
    run.add_metrics([{**head, "clinic": name, "seconds": {"train": train}} for name in clinics])
    record = {"round": number, "sha256": "0", "size": 1000, "clinics": {name: {} for name in clinics}}
    (run.folder / f"round-{number:04d}.json").write_text(json.dumps(record))
    run.set_state("running", number)


def test_pace_is_the_median_of_the_newest_rounds(run):
    view = RunView(run)
    assert view.refresh().pace() is None
    for number, seconds in enumerate((100.0, 9.0, 10.0, 11.0), 1):
        add_round(run, number, seconds, train=seconds / 2)
    pace = view.refresh().pace(3)
    assert (pace.rounds, pace.round_s, pace.training_s) == (3, 10.0, 5.0)


def test_clinics_rounds_are_the_newest_and_a_reply_replaces_an_earlier_rejection(run):
    run.event("refused", round=1, clinic="anna", reason="norm", words="too long")
    run.event("refused", round=2, clinic="anna", reason="late", words="no reply")
    add_round(run, 1)
    for number in range(3, LAST_ROUNDS + 5):
        add_round(run, number)
    rounds = RunView(run).refresh().rounds_of("anna")
    assert len(rounds) == LAST_ROUNDS and rounds[0]["round"] == LAST_ROUNDS + 4 and rounds[0]["down"] == 1000
    assert RunView(run).refresh().rounds_of("bert") == []


def test_repeated_round_shows_the_reply_that_counted(run):
    run.event("refused", round=1, clinic="anna", reason="norm", words="too long")
    assert RunView(run).refresh().rounds_of("anna")[0]["result"] == "refused"
    add_round(run, 1)
    assert [r["result"] for r in RunView(run).refresh().rounds_of("anna")] == ["done"]


def test_record_follows_the_newest_complete_round(run):
    view = RunView(run)
    assert view.refresh().record == {} and view.model_bytes == 0
    add_round(run, 1)
    assert view.refresh().record["round"] == 1 and view.model_bytes == 1000
    add_round(run, 2, clinics=("anna", "bert"))
    assert view.refresh().record["round"] == 2 and view.took_part == {"anna", "bert"}
    (run.folder / "round-0002.json").write_text("{")
    assert view.refresh().record == {} and [r["round"] for r in view.records()] == [1]


def test_course_of_a_clinic_keeps_its_first_and_newest_rounds_and_a_bounded_number_of_points(run):
    line = {"split": "validation", "day": None, "auroc": 0.7, "auroc_se": 0.1, "auroc_blur": 0.004, "loss": 0.5}
    run.add_metrics([{**line, "round": n, "clinic": name} for n in range(500) for name in ("anna", "pooled")])
    view = RunView(run).refresh()
    courses = view.courses()
    assert list(courses) == ["pooled", "anna"] and len(courses["anna"]) <= MOST_OF_CLINIC
    assert (courses["anna"][0][0], courses["anna"][-1], view.validated) == (0, [499, 0.7, 0.5, 0.2], 499)


def test_version_changes_with_the_files_and_only_then(run):
    view = RunView(run).refresh()
    before = view.version
    assert view.refresh().version == before
    add_round(run, 1)
    assert view.refresh().version == before + 1
    run.set_state("finished", 1)
    assert view.refresh().over and view.version == before + 2


def test_views_are_shared_and_current_is_the_run_under_way_else_the_newest(runs, run):
    views = RunViews(runs)
    assert views.get(run.name) is views.all()[0] is views.current()
    run.set_state("finished", 3)
    queued = runs.create(RunSettings())
    queued.set_state("queued", 0)
    assert views.current().name == queued.name and [v.name for v in views.all()] == [run.name, queued.name]
    with pytest.raises(UserError, match="There is no run 'run-0009'"):
        views.get("run-0009")


def test_threads_that_read_while_a_run_grows_see_complete_rounds(runs, run):
    views, wrong, done = RunViews(runs), [], threading.Event()

    def read():
        while not done.is_set():
            try:
                view = views.get(run.name)
                counts, newest = view.counts(), view.newest_lines()
                if counts["results", "bert", "accepted"] != counts["rounds",] or len(newest) not in (0, 2):
                    wrong.append((counts, newest))
                view.rounds_of("anna"), view.pace(), view.curve(), view.best()
            except Exception as exc:
                wrong.append(exc)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 40):
        add_round(run, number, clinics=("anna", "bert"))
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong and RunView(run).refresh().counts()["images", "anna"] == 39 * 10 * 2
