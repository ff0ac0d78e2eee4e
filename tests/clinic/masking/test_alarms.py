"""When a clinic raises an alarm about a model, and how little of an embryo an alarm depends on."""

import hashlib

import numpy as np
import pytest

from embryofl.metrics import ScoredEmbryos
from embryofl.schema import Download
from embryofl.settings import RunSettings
from embryofl_clinic.masking import alarms as module
from embryofl_clinic.masking.alarms import FEWEST_EMBRYOS, FILE, THRESHOLD, WORST_LOSS, Alarms, cut_loss

EMBRYOS = 50


def scored(loss, embryos=EMBRYOS):
    """Embryos that have this loss each."""
    labels = np.arange(embryos) % 2
    return ScoredEmbryos(np.where(labels == 1, np.exp(-loss), 1 - np.exp(-loss)), labels, np.full(embryos, 5))


@pytest.fixture
def vote(tmp_path, make_request):
    """`vote(round, model, loss)`: whether the clinic, started again each time, raises an alarm."""

    def ask(round_, model, loss, *, embryos=EMBRYOS, run="run-0001", folder="state", **settings):
        sha256 = hashlib.sha256(model.encode()).hexdigest()
        request = make_request(
            run=run,
            round=round_,
            model=Download(url="/v1/model/x", size=1, sha256=sha256),
            settings=RunSettings(**settings),
        )
        return Alarms(tmp_path / folder).vote(request, scored(loss, embryos))

    return ask


def test_model_that_is_much_worse_raises_an_alarm_and_one_that_is_a_little_worse_does_not(vote, caplog):
    assert not vote(1, "first", 0.9)
    assert not vote(2, "better", 0.5)
    assert not vote(3, "a little worse", 0.5 + THRESHOLD[0] - 0.01)
    assert vote(4, "bad", 0.69 + THRESHOLD[1] + 0.01)
    assert "alarm leaves under the mask" in caplog.text


def test_threshold_between_is_drawn_for_each_round_and_is_the_same_when_it_is_asked_again(vote, monkeypatch):
    monkeypatch.setattr(module, "MOST", 10**6)
    first = []
    for number in range(1, 121):
        vote(2 * number - 1, f"good {number}", 0.5)
        first.append(vote(2 * number, f"bad {number}", 0.85))
        assert vote(2 * number, f"bad {number}", 0.85) == first[-1]
    assert 0.3 < np.mean(first) < 0.7


@pytest.mark.parametrize("embryos", [FEWEST_EMBRYOS, 200])
def test_label_of_one_embryo_moves_the_chance_by_a_third_at_most(embryos):
    """Even where one model is made to score it as 1 and the other one as 0."""
    worse_by = []
    for label in (0, 1):
        labels = np.append(np.arange(embryos - 1) % 2, label)
        before, now = (
            ScoredEmbryos(np.append(np.full(embryos - 1, 0.5), score), labels, np.full(embryos, 5)) for score in (0, 1)
        )
        worse_by.append(cut_loss(now) - cut_loss(before))
    low, high = THRESHOLD
    assert abs(worse_by[1] - worse_by[0]) / (high - low) == pytest.approx(2 * WORST_LOSS / embryos / (high - low))
    assert 2 * WORST_LOSS / FEWEST_EMBRYOS / (high - low) < 0.334


def test_clinic_that_has_missed_the_round_before_cannot_compare(vote):
    vote(1, "good", 0.5)
    assert not vote(3, "bad", 1.5)


def test_void_round_does_not_save_a_bad_model_from_the_vote(vote):
    vote(1, "good", 0.5)
    assert vote(2, "bad", 1.5)
    assert vote(3, "bad", 1.5)


def test_model_that_is_back_again_is_not_compared_with_the_one_that_was_voted_down(vote):
    vote(1, "good", 0.5)
    assert not vote(2, "voted down by others", 0.1)
    assert not vote(3, "good", 0.8)
    assert vote(4, "bad", 1.5)


def test_other_run_begins_anew(vote):
    vote(1, "good", 0.5)
    assert not vote(2, "bad", 1.5, run="run-0002")


def test_repeated_round_is_compared_with_the_one_before_it(vote):
    for number, loss in enumerate((0.5, 0.5, 1.5, 0.5), 1):
        vote(number, f"model {number}", loss)
    assert vote(2, "another", 1.5)


@pytest.mark.parametrize("how", [{"embryos": FEWEST_EMBRYOS - 1}, {"alarms": False}], ids=str)
def test_clinic_with_few_embryos_or_in_a_run_without_alarms_raises_none(vote, how, tmp_path):
    vote(1, "good", 0.1, **how)
    assert not vote(2, "bad", 1.9, **how)
    assert not (tmp_path / "state" / FILE).exists()


def test_clinic_raises_three_alarms_in_ninety_days_in_whatever_runs(vote, monkeypatch, caplog):
    def alarm(run):
        vote(1, f"good {run}", 0.5, run=run)
        first, again = (vote(2, f"bad {run}", 1.5, run=run) for _ in range(2))
        assert first == again
        return first

    began = module.time.time()
    assert [alarm(f"run-{number}") for number in range(4)] == [True, True, True, False]
    assert "raises no more" in caplog.text
    monkeypatch.setattr(module.time, "time", lambda: began + module.DAYS * 86_400 + 60)
    assert alarm("run-5")


def test_damaged_file_is_reported_and_begins_again(vote, tmp_path, caplog):
    vote(1, "good", 0.5)
    (tmp_path / "state" / FILE).write_text("{")
    assert not vote(2, "bad", 1.5)
    assert "is damaged" in caplog.text
    assert not vote(3, "another", 1.5)
