"""The clinic's ledger of questions: a run is evaluated once, a repeated question gets the same bytes, and budgets hold."""

import json
import threading
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from embryofl.errors import ProtocolError
from embryofl.pooled_metrics import SPLITS
from embryofl_clinic.cli.commands import app
from embryofl_clinic.policy.questions import FILE, Questions
from kits.label_attack import RUN, Clinic, Population, masked, summed

NAMES = ("anna", "bert", "cleo")
ONE, OTHER = np.full(1280, 0.01), np.full(1280, -0.01)


@pytest.fixture
def clinics(tmp_path):
    """Three clinics that release pooled metrics; `clinics(lines)` adds lines to the first one's policy."""

    def make(policy: str = "", metrics: str = "pooled") -> list[Clinic]:
        lines = f'metrics = "{metrics}"\npeers = "first"\n{policy}'
        return [Clinic(name, tmp_path, lines, Population(number)) for number, name in enumerate(NAMES)]

    return make


def restarted(clinic: Clinic) -> None:
    """The clinic's process starts again: it remembers what is on disk alone."""
    clinic.handler = clinic.make_handler()


def test_answers_are_entered_before_they_leave(clinics):
    three = clinics("max_evaluations = 2")
    before = time.time()
    summed(three, 7, ONE, 0.0)
    (question,) = Questions(three[0].state).read()
    assert (question.run, question.round, question.released) == ("run-0007", 2, "pooled")
    assert question.embryos == dict.fromkeys(SPLITS, 40) and before <= question.time <= time.time()
    anna = three[0]
    anna.transfers.broken = True
    with pytest.raises(OSError, match="broken"):
        summed(three, 8, ONE, 0.0)
    assert [q.run for q in Questions(anna.state).read()] == ["run-0007", "run-0008"]


def test_the_same_question_again_gets_the_same_sum_and_is_not_counted(clinics):
    three = clinics("max_evaluations = 1")
    first = summed(three, 1, ONE, 0.0)
    for clinic in three:
        restarted(clinic)
    assert summed(three, 1, ONE, 0.0, attempt=2) == first
    assert all(len(Questions(clinic.state).read()) == 1 for clinic in three)


def test_a_second_model_in_a_run_is_declined_and_named_in_the_log(clinics, caplog):
    three = clinics()
    summed(three, 1, ONE, 0.0)
    with pytest.raises(AssertionError, match="run-0001 was evaluated before, with another model or settings"):
        summed(three, 1, OTHER, 0.0, model=f"{99:064x}")
    assert (
        "declined: the hub asked for an evaluation of the model 000000000000 after round 2 of run-0001" in caplog.text
    )


def test_a_second_model_is_declined_for_exact_sums_too(clinics):
    (anna, *_) = clinics(metrics="own")
    assert anna.ask("evaluate", 1, 2, ONE, 0.0).test
    restarted(anna)
    assert anna.ask("evaluate", 1, 2, ONE, 0.0).test  # the same question
    reply = anna.ask("evaluate", 1, 2, OTHER, 0.0, model=f"{99:064x}")
    assert reply.test is None and "was evaluated before, with another model" in reply.refused
    assert [q.released for q in Questions(anna.state).read()] == ["own"]


def test_the_same_model_with_other_settings_is_declined_before_anything_is_computed(clinics, monkeypatch):
    """Images of another size are another question; that its answer would be another one tells of this clinic alone."""
    three = clinics()
    summed(three, 1, ONE, 0.0)
    monkeypatch.setattr(three[0].handler, "_workloads", None)
    settings = RUN.model_copy(update={"image_size": 152})
    replies, total = masked(three, "evaluate", 1, 2, ONE, 0.0, attempt=2, settings=settings)
    assert total is None and "run-0001 was evaluated before, with another model or settings" in replies[-1].refused


def test_two_processes_that_share_a_ledger_forget_no_question(clinics):
    (anna, *_) = clinics(metrics="own")
    requests = [anna.request("evaluate", number, 2) for number in range(1, 9)]
    threads = [
        threading.Thread(target=Questions(anna.state).enter, args=(r, "own", "ab" * 32, dict.fromkeys(SPLITS, 40)))
        for r in requests
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {q.run for q in Questions(anna.state).read()} == {r.run for r in requests}


def test_no_more_evaluations_are_answered_than_the_policy_allows(clinics):
    three = clinics("max_evaluations = 2\nevaluation_days = 30")
    for run in (1, 2):
        summed(three, run, ONE, 0.0)
    with pytest.raises(AssertionError, match=r"as many evaluations as it does in 30 days \(max_evaluations = 2\)"):
        summed(three, 3, ONE, 0.0)
    for clinic in three:  # a month passes
        path = clinic.state / FILE
        asked = json.loads(path.read_text())
        path.write_text(json.dumps([{**q, "time": q["time"] - 31 * 86_400} for q in asked]))
    summed(three, 3, ONE, 0.0)


def test_another_answer_to_the_same_question_is_not_sent(clinics):
    """The difference of two answers would be that of the embryos that came or went."""
    three = clinics()
    summed(three, 1, ONE, 0.0)
    three[0].workload.label(0, 1 - int(three[0].workload.data.validation.labels[0]))
    restarted(three[0])
    with pytest.raises(ProtocolError, match="answered before, and the answer would be another one now"):
        summed(three, 1, ONE, 0.0, attempt=2)


def test_damaged_ledger_blocks_evaluations(clinics):
    three = clinics()
    (three[0].state / FILE).write_text("[{]")
    with pytest.raises(AssertionError, match="ledger of questions cannot be read"):
        summed(three, 1, ONE, 0.0)


def test_ledger_is_printed(clinics):
    three = clinics()
    state = str(three[0].state)
    assert "No final evaluation has been answered yet." in CliRunner().invoke(app, ["ledger", "--state", state]).output
    summed(three, 1, ONE, 0.0)
    text = CliRunner().invoke(app, ["ledger", "--state", state]).output
    assert "run-0001, round 2, model 000000000000: 40 validation and 40 test embryos, a sum with other clinics" in text
    assert "0 of 1 more will be answered in 90 days" in text
    asked = json.loads(CliRunner().invoke(app, ["ledger", "--state", state, "--json"]).output)
    assert [q["run"] for q in asked] == ["run-0001"]
