"""The clinic's ledger of questions: a round has one model, a repeated question gets the same bytes, and budgets hold."""

import json
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from embryofl.errors import ProtocolError
from embryofl.messages import MaskingRequest, Request
from embryofl.pooled_metrics import SPLITS, from_vector
from embryofl_clinic.cli.commands import app
from embryofl_clinic.policy.questions import FILE, About, Questions
from embryofl_clinic.policy.rules import Policy, last_block
from embryofl_clinic.settings import ClinicSettings
from embryofl_clinic.workload.embryo import EmbryoWorkload
from kits.clinic_app import started_app
from kits.head_clinics import RUN, Clinic, masked, summed
from kits.pictures import Population

NAMES = ("anna", "bert", "cleo")
ONE, OTHER = np.full(1280, 0.01), np.full(1280, -0.01)


@pytest.fixture
def clinics(tmp_path):
    """Three clinics that release pooled metrics; `clinics(lines)` adds lines to the first one's policy."""

    def make(policy: str = "", metrics: str = "pooled") -> list[Clinic]:
        lines = f'metrics = "{metrics}"\npeers = "first"\n{policy}'
        return [Clinic(name, tmp_path, lines, Population(number)) for number, name in enumerate(NAMES)]

    return make


def masked_request(clinic: Clinic, number: int) -> Request:
    """The final evaluation of run `number`, under masks."""
    return clinic.request("evaluate", number, RUN.rounds, MaskingRequest(letters={"roster": "ab" * 32, "letters": {}}))


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
    answer = ("own", "ab" * 32, About(embryos=dict.fromkeys(SPLITS, 40)))
    policies = [Policy(anna.state, "quality", "anna") for _ in requests]
    threads = [
        threading.Thread(target=p.enter_answer, args=(r, *answer)) for p, r in zip(policies, requests, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {q.run for q in Questions(anna.state).read()} == {r.run for r in requests}


def test_requests_at_the_same_time_are_not_answered_beyond_the_budget(clinics):
    """Each is checked before any is entered, as by two processes that share a state folder."""
    three = clinics("max_evaluations = 2")
    requests = [masked_request(three[0], number) for number in range(1, 9)]
    policies = [Policy(three[0].state, "quality", "anna") for _ in requests]
    assert not any(p.reason_to_block(r) for p, r in zip(policies, requests, strict=True))
    entered, declined = [], []

    def answer(policy, request):
        try:
            policy.enter_answer(request, "pooled", "ab" * 32, About())
            entered.append(request.run)
        except ProtocolError as exc:
            declined.append(str(exc))

    threads = [threading.Thread(target=answer, args=pair) for pair in zip(policies, requests, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {q.run for q in Questions(three[0].state).read()} == {*entered} and len(entered) == 2
    assert len(declined) == 6 and all("(max_evaluations = 2)" in text for text in declined)


def test_no_more_evaluations_are_answered_than_the_policy_allows(clinics):
    three = clinics("max_evaluations = 2\nevaluation_days = 30")
    for run in (1, 2):
        summed(three, run, ONE, 0.0)
    with pytest.raises(AssertionError, match=r"answers 0 more in 30 days \(max_evaluations = 2\)"):
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


ON_THE_WAY = RUN.model_copy(update={"rounds": 7, "pooled_every": 3})  # asks after rounds 3 and 6, and at the end


def on_the_way(three, round_, weights=ONE, settings=ON_THE_WAY):
    """The sum over validation patients of another model after each round, or why it is declined."""
    replies, total = masked(three, "evaluate", 1, round_, weights, 0.0, model=f"{round_:064x}", settings=settings)
    return replies[-1].refused if total is None else from_vector(total)


def test_an_evaluation_on_the_way_is_of_validation_patients_alone(clinics):
    three = clinics("max_evaluations = 3")
    sums = on_the_way(three, 3)
    assert sums["validation"].days[5].counts.sum() == 120 and not sums["test"].days
    assert [q.embryos for q in Questions(three[0].state).read()] == [{"validation": 40}]
    assert on_the_way(three, 6)["validation"].days[5].counts.sum() == 120
    assert on_the_way(three, 7)["test"].days[5].counts.sum() == 120


@pytest.mark.parametrize("most", [1, 2])
def test_a_clinic_declines_on_the_way_what_its_budget_does_not_cover_to_the_end(clinics, most):
    three = clinics(f"max_evaluations = {most}")
    expected = f"the clinic answers {most} more in 90 days (max_evaluations = {most}), and the run still asks for 3"
    assert on_the_way(three, 3) == expected
    assert (on_the_way(three, 6) == expected.replace("3", "2")) == (most < 2)
    assert on_the_way(three, 7)["test"].days[5].counts.sum() == 120


def test_a_round_that_the_settings_do_not_name_and_a_second_model_of_one_are_declined(clinics):
    three = clinics("max_evaluations = 0")
    assert "does not evaluate single rounds" in on_the_way(three, 4)
    assert on_the_way(three, 3)
    again, _ = masked(three, "evaluate", 1, 3, OTHER, 0.0, 2, model=f"{99:064x}", settings=ON_THE_WAY)
    assert "was evaluated before, with another model or settings" in again[-1].refused
    oftener = ON_THE_WAY.model_copy(update={"pooled_every": 1})
    assert "was evaluated before, with another model or settings" in on_the_way(three, 4, settings=oftener)


SHOWN = Population(0).validation()


def known(three):
    """The clinics, which now know their embryos by their images."""
    for clinic in three:
        data = clinic.workload.data
        contents = [f"{clinic.name} {number}" for number in range(len(data.validation))]
        data.validation = data.test = replace(data.validation, contents=contents)
    return three


def only(clinic, count):
    """The clinic has so many of its embryos left."""
    data, part = clinic.workload.data, {}
    for field in ("rows", "labels", "days", "embryos", "groups", "contents"):
        part[field] = getattr(data.validation, field)[:count]
    data.validation = data.test = replace(data.validation, **part)


def test_few_corrected_embryos_are_told_as_they_were(clinics, caplog):
    """Else the difference of two answers would be theirs."""
    three = known(clinics("max_evaluations = 0"))
    first = summed(three, 1, ONE, 0.0)
    labels = three[0].workload.data.validation.labels
    labels[:14] = 1 - labels[:14]
    assert summed(three, 2, ONE, 0.0) == first
    assert Questions(three[0].state).read()[-1].others == dict.fromkeys(SPLITS, 14)
    assert (
        "run-0002: the metrics under masks are of the validation embryos of an earlier answer. 14 have" in caplog.text
    )
    labels[14] = 1 - labels[14]
    now = summed(three, 3, ONE, 0.0)
    assert now != first and now["test"].pooled().counts.sum() == 120
    assert Questions(three[0].state).read()[-1].others == {}


def test_the_same_question_gets_the_same_sum_after_a_correction(clinics):
    three = known(clinics())
    first = summed(three, 1, ONE, 0.0)
    three[0].workload.label(0, 1 - int(three[0].workload.data.validation.labels[0]))
    restarted(three[0])
    assert summed(three, 1, ONE, 0.0, attempt=2) == first


def test_few_new_embryos_wait_and_without_the_old_ones_nothing_is_told(clinics):
    three = known(clinics("max_evaluations = 0"))
    every = three[0].workload.data.validation
    only(three[0], 39)
    first = summed(three, 1, ONE, 0.0)
    three[0].workload.data.validation = three[0].workload.data.test = every
    assert summed(three, 2, ONE, 0.0) == first
    only(three[0], 38)
    with pytest.raises(AssertionError, match="validation embryos of an earlier answer are gone, and fewer than 15"):
        summed(three, 3, ONE, 0.0)
    assert "are gone" in last_block(three[0].state)["words"] and len(Questions(three[0].state).read()) == 2
    only(three[0], 20)
    assert summed(three, 3, ONE, 0.0)["test"].pooled().counts.sum() == 100


def test_embryos_are_known_by_the_contents_of_their_images():
    def ids(contents, embryos):
        data = SimpleNamespace(validation=replace(SHOWN, contents=contents, embryos=np.array(embryos)))
        return EmbryoWorkload.ids(SimpleNamespace(data=data), "validation")

    one = ids(["aa", "bb", "cc"], [0, 1, 0])
    assert len(one) == 2 and ids(["cc", "dd", "aa"], [0, 1, 0])[0] == one[0]
    assert len({*ids(["aa", "aa", "aa"], [0, 1, 2])}) == 3 and ids(None, [0, 1]) == []


def test_the_clinic_app_says_that_corrections_wait(clinics):
    three = known(clinics("max_evaluations = 0"))
    summed(three, 1, ONE, 0.0)
    three[0].workload.label(0, 1 - int(three[0].workload.data.validation.labels[0]))
    summed(three, 2, ONE, 0.0)
    only(three[0], 39)
    with pytest.raises(AssertionError, match="are gone"):
        summed(three, 3, ONE, 0.0)
    links: list[str] = []
    client = TestClient(started_app(ClinicSettings(state_dir=three[0].state), links), base_url="http://127.0.0.1:8088")
    client.get(links[-1])
    page = client.get("/").text
    assert "run-0002: the metrics that were summed under masks are of the test patients of an earlier answer" in page
    assert "The last request that was blocked (run-0003, round 2): validation embryos of an earlier answer" in page


def test_damaged_ledger_blocks_evaluations(clinics):
    three = clinics()
    (three[0].state / FILE).write_text("[{]")
    with pytest.raises(AssertionError, match="ledger of questions cannot be read"):
        summed(three, 1, ONE, 0.0)


def test_ledger_is_printed(clinics):
    three = clinics()
    state = str(three[0].state)
    assert "No evaluation has been answered yet." in CliRunner().invoke(app, ["ledger", "--state", state]).output
    summed(three, 1, ONE, 0.0)
    text = CliRunner().invoke(app, ["ledger", "--state", state]).output
    assert "run-0001, round 2, model 000000000000: 40 validation and 40 test embryos, a sum with other clinics" in text
    assert "0 of 1 more will be answered in 90 days" in text
    asked = json.loads(CliRunner().invoke(app, ["ledger", "--state", state, "--json"]).output)
    assert [q["run"] for q in asked] == ["run-0001"]
