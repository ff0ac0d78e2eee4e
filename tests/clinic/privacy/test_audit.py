"""An audit: attacks tell who was trained on, counts of them do not tell a label, and a clinic audits once, and only its own runs."""

import re

import numpy as np
import pytest

from embryofl.metrics import CENTRES, ScoreSums
from embryofl.pooled_metrics import AUDIT_GROUP, GROUP
from embryofl_clinic.policy.questions import Questions
from embryofl_clinic.policy.sent import SentLog
from embryofl_clinic.privacy.attacks import Attacked, attack
from kits.head_clinics import Clinic, masked, summed
from kits.label_attack import Aims, features, label_accuracy
from kits.pictures import Population, examples

pytestmark = pytest.mark.integration

NAMES = ("anna", "bert", "cleo")
POOLED = 'metrics = "pooled"\npeers = "first"\n'
HEAD = np.full(1280, 0.01)


def clinic(folder, name, population, policy=POOLED, runs=(1,)):
    """One that has trained in these runs, with 40 patients each to train on, to validate and to test."""
    made = Clinic(name, folder, policy, population)
    made.workload.data.test = examples(*population.draw(40))
    for number in runs:
        SentLog(made.state).note("update", 1, f"run-{number:04d}", 1)
    return made


def clinics(folder, policy="", **more):
    return [clinic(folder, name, Population(n), POOLED + policy, **more) for n, name in enumerate(NAMES)]


def audited(three, number=1, head=(HEAD, 0.0), **more):
    sums = summed(three, number, *head, kind="audit", **more)
    return {"loss": sums["validation"], "rmia": sums["test"]}


def overfitted(three):
    """A head that has learned the training patients of all clinics by heart, whose labels are coins'."""
    for number, one in enumerate(three):
        for split in ("train", "validation", "test"):
            labels = getattr(one.workload.data, split).labels
            labels[:] = np.random.default_rng([number, len(split)]).integers(0, 2, len(labels))
    inputs = np.concatenate([c.workload.data.train.pixels for c in three]).astype(np.float64)
    labels = np.concatenate([c.workload.data.train.labels for c in three])
    return np.linalg.lstsq(inputs, 6.0 * (2 * labels - 1), rcond=None)[0], 0.0


def test_a_head_that_has_learned_its_patients_by_heart_is_found_out_and_an_untrained_one_is_not(tmp_path):
    found = audited(three := clinics(tmp_path), head=overfitted(three))
    for sums in found.values():
        day = sums.days[0]
        assert [*day.counts] == [240, 120] and sums.summary().auroc > 0.8
        assert day.histogram.sum(axis=0)[day.histogram.any(axis=0)].min() >= AUDIT_GROUP
    (tmp_path / "untrained").mkdir()
    for sums in audited(clinics(tmp_path / "untrained"), head=(np.zeros(1280), 0.0)).values():
        assert sums.summary().auroc is None or sums.summary().auroc == pytest.approx(0.5, abs=0.1)


def test_attacks_are_by_patient_and_one_with_reference_models_knows_whom_any_model_fits():
    """A patient that everybody fits tells nothing; one that only this model fits was trained on."""
    rng = np.random.default_rng(0)
    patients, members = np.repeat(np.arange(60), 2), np.arange(60) < 30
    labels = rng.integers(0, 2, 120)
    easy = patients % 2 == 0
    inputs = rng.normal(size=(120, 30))
    inputs[:, 0] = np.where(easy, 6.0 * (2 * labels - 1), 0.0)
    known = easy | members[patients]
    scores = np.where(known, np.where(labels == 1, 0.97, 0.03), 0.5)
    found = attack(Attacked(scores, labels, patients, members, inputs), 0)
    assert all(len(one.scores) == 60 and [*one.labels] == [*members] for one in found.values())
    hard = np.arange(60) % 2 == 1
    auroc = {
        name: one.scores[hard & members].mean() - one.scores[~(hard & members)].mean() for name, one in found.items()
    }
    assert auroc["rmia"] > auroc["loss"] + 0.1
    again = attack(Attacked(scores, labels, patients, members, inputs), 0)
    assert all(np.array_equal(found[name].scores, again[name].scores) for name in found)


@pytest.mark.slow
def test_counts_of_a_crafted_model_hardly_tell_the_label_of_a_training_patient(tmp_path):
    """0.56 of 48 tries. With bins of single patients in place of 30, 0.94."""
    rng, seen, coins = np.random.default_rng(1), [], []
    for world in range(6):
        population, policy = Population(200 + world), POOLED + "max_evaluations = 0"
        (folder := tmp_path / f"{world}").mkdir()
        three = [clinic(folder, name, population, policy, runs=range(1, 13)) for name in NAMES]
        train, aims = three[0].workload.data.train, Aims(population)
        for number in range(1, 13):
            coins.append(int(rng.integers(2)))
            train.labels[number] = coins[-1]
            sums = audited(three, number, aims.head("sure", train.pixels[number].astype(np.float64)))
            seen.append([value for one in sums.values() for value in features(one.pooled())])
    assert label_accuracy(seen, coins) <= 0.67


def reply(one, kind="audit", number=1, masking=None, round_=2):
    return one.ask(kind, number, round_, HEAD, 0.0, masking)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ('metrics = "none"', "releases no metrics"),
        ('metrics = "pooled"', "only under masks, with at least 3 clinics"),
        ('metrics = "own"\nrequire_dp = true', "limits epsilon|only takes part in runs with differential privacy"),
        (
            'metrics = "own"\nmax_epsilon_lifetime = 8',
            "limits epsilon|only takes part in runs with differential privacy",
        ),
    ],
)
def test_policy_decides_whether_a_clinic_audits(tmp_path, policy, words):
    refused = reply(clinic(tmp_path, "anna", Population(0), policy)).refused
    assert re.search(words, refused), refused
    assert not Questions(tmp_path / "anna").read()


def test_a_clinic_audits_only_a_run_that_it_has_trained_in(tmp_path):
    anna = clinic(tmp_path, "anna", Population(0), 'metrics = "own"')
    assert "has trained in no round of run-0002" in reply(anna, number=2).refused
    assert not reply(anna).refused
    three = clinics(tmp_path / "three") if (tmp_path / "three").mkdir() is None else []
    replies, total = masked(three, "audit", 2, 2, HEAD, 0.0)
    assert total is None and "has trained in no round of run-0002" in replies[-1].refused


def test_a_clinic_that_releases_its_own_counts_has_no_small_bin_and_no_exact_loss_in_them(tmp_path):
    anna = clinic(tmp_path, "anna", Population(0), 'metrics = "own"')
    found = reply(anna)
    assert not found.refused and set(found.audit) == {"loss", "rmia"} and found.validation is None is found.test
    for value in found.audit.values():
        day = ScoreSums.from_dict(value).days[0]
        assert [*day.counts] == [80, 40] and day.histogram.sum(axis=0)[day.histogram.any(axis=0)].min() >= AUDIT_GROUP
        of_bins = -(day.histogram * np.log([1 - CENTRES, CENTRES])).sum(axis=1)
        assert day.log_loss == pytest.approx(of_bins)


def test_a_run_is_audited_once_and_a_repeated_question_has_the_same_bytes(tmp_path):
    three = clinics(tmp_path, "max_evaluations = 5")
    first = audited(three)
    for one in three:
        one.handler = one.make_handler()
    again = audited(three, attempt=2)
    assert all(again[name].to_dict() == first[name].to_dict() for name in first)
    (question,) = Questions(three[0].state).read()
    assert (question.kind, question.embryos) == ("audit", {"train": 40, "validation": 40, "test": 40})
    replies, total = masked(three, "audit", 1, 2, HEAD, 0.0, 3, f"{99:064x}")
    assert total is None and "run-0001 was audited before, with another model" in replies[-1].refused


def test_the_model_of_an_audit_is_that_of_the_final_evaluation(tmp_path):
    three = clinics(tmp_path, "max_evaluations = 5", runs=(1, 2))
    summed(three, 1, HEAD, 0.0)
    replies, total = masked(three, "audit", 1, 2, HEAD, 0.0, 1, f"{99:064x}")
    assert total is None and "run-0001 was evaluated before, with another model" in replies[-1].refused
    assert audited(three)["loss"].days[0].counts.sum() == 360
    audited(three, 2)
    replies, total = masked(three, "evaluate", 2, 2, HEAD, 0.0, 1, f"{99:064x}")
    assert total is None and "run-0002 was audited before, with another model" in replies[-1].refused


def test_an_audit_is_an_answer_like_an_evaluation(tmp_path):
    three = clinics(tmp_path)
    summed(three, 1, HEAD, 0.0)
    replies, total = masked(three, "audit", 1, 2, HEAD, 0.0)
    assert (
        total is None
        and "answers 0 more in 90 days (max_evaluations = 1), and the audit asks for 1" in replies[-1].refused
    )


def test_an_embryo_that_has_come_since_is_in_no_second_audit_until_fifteen_are_others(tmp_path):
    """The difference of two audits would be that embryo."""
    counted = []
    for extra in (1, GROUP):
        (folder := tmp_path / f"{extra}").mkdir()
        population = Population(0)
        anna = clinic(folder, "anna", population, 'metrics = "own"', runs=(1, 2))
        pixels, labels = population.draw(40 + extra)
        for number, count in ((1, 40), (2, 40 + extra)):
            data = examples(pixels[:count], labels[:count])
            anna.workload.data.train = data.__class__(
                **{**data.__dict__, "contents": [f"{n:064x}" for n in range(count)]}
            )
            found = ScoreSums.from_dict(reply(anna, number=number).audit["loss"])
            counted.append(int(found.days[0].counts[1]))
    assert counted == [40, 40, 40, 40 + GROUP]
