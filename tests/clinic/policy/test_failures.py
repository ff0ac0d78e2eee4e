"""A failure is an answer: no model makes a clinic fail, refuse or wait by what its data are, unless it releases its own metrics."""

import threading

import numpy as np
import pytest
import torch

from embryofl.errors import NotFiniteError
from embryofl.masked_update import count_clipped
from embryofl.pooled_metrics import from_vector
from embryofl.settings import RunSettings
from embryofl_clinic.workload.own_results import OwnResultsFile
from kits.head_clinics import Clinic, masked
from kits.label_attack import Aims
from kits.pictures import Population

NAMES = ("anna", "bert", "cleo")
MASKED = RunSettings(model="lite0_head", rounds=2, masked_weights="examples", batch_size=8, balance=0)
OWN = 'metrics = "own"\nrequire_secure_aggregation = false'
HUGE = np.full(1280, 3e38)  # finite, and infinity less infinity on most pictures


@pytest.fixture
def clinics(tmp_path):
    """Three clinics with the default policy, but for compared keys."""
    return [Clinic(name, tmp_path, 'peers = "first"', Population(number)) for number, name in enumerate(NAMES)]


def said(reply):
    """What a reply says, but for its run and the time that it took."""
    return reply.model_dump(exclude={"run", "seconds", "memory_bytes"})


@pytest.mark.parametrize("personal", ["", "head"])
def test_final_evaluation_without_masks_is_answered_without_touching_model_or_data(clinics, personal, monkeypatch):
    (anna, *_) = clinics
    monkeypatch.setattr(anna.handler, "_workloads", None)
    settings = RunSettings(model="lite0_head", rounds=2, personal=personal)
    for weights in (HUGE, np.full(1280, np.inf), np.zeros(1280)):
        reply = anna.ask("evaluate", 1, 2, weights, 0.0, settings=settings)
        assert not reply.refused and not reply.seconds and reply.validation is None and reply.test is None


def test_training_that_overflows_by_one_label_looks_the_same_to_the_hub(clinics, caplog):
    """The loss of a picture with a logit of about 3e38 is infinite if its label is 0: zeros are masked in its place."""
    train = clinics[0].workload.data.train
    aim, offset = Aims(Population(0)).head("alone", train.pixels[0].astype(np.float64))
    weights, offset = aim / 400 * 3.2e38, (offset + 200) / 400 * 3.2e38
    replies = []
    for run, label in enumerate((1, 0, 0), 1):  # zeros twice: they are no update that the ledger knows from another run
        train.labels[0] = label
        every, _ = masked(clinics, "train", run, 2, weights, offset, settings=MASKED)
        replies.append(said(every[2 * len(NAMES)]))  # anna's, after keys and letters
        assert ("Zeros are sent under the mask" in caplog.text) == (run > 1)
    assert replies[0] == replies[1] == replies[2]


def test_training_that_is_not_finite_anywhere_counts_as_clipped_and_moves_nothing(clinics):
    _, total = masked(clinics, "train", 1, 2, HUGE, 0.0, settings=MASKED)
    assert not total[:-2].any() and count_clipped(total) == 3


def test_scores_that_are_not_numbers_count_as_one_half_and_are_named_in_the_log(clinics, caplog):
    _, total = masked(clinics, "evaluate", 1, 2, HUGE, 0.0)
    sums = from_vector(total)["validation"].pooled()
    assert sums.counts.sum() == 120 and "scores are not numbers and count as 0.5" in caplog.text


@pytest.mark.parametrize("number", [np.inf, np.nan])
def test_model_with_weights_that_are_not_finite_is_rejected_before_it_meets_an_embryo(tmp_path, number):
    anna = Clinic("anna", tmp_path, OWN, Population(0))
    with pytest.raises(NotFiniteError, match="weights in the hub's model that are not finite; expected finite ones"):
        anna.ask("train", 1, 1, np.zeros(1280), number)
    assert not OwnResultsFile(anna.state).read().rounds


def test_training_for_a_hub_that_sees_each_update_fails_by_name(tmp_path):
    anna = Clinic("anna", tmp_path, OWN, Population(0))
    with pytest.raises(NotFiniteError, match="loss became nan"):
        anna.ask("train", 1, 1, HUGE, 0.0)


def test_numbers_below_the_normal_ones_take_no_longer_than_others(clinic):
    found, anna = [], clinic()
    anna.stop.set()

    def work():
        anna.trainer.run()
        found.append(float(torch.full((1,), 1e-38) * 0.1))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [0.0]
