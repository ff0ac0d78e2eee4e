"""Canaries: kept until the audit, nobody's patients, and of their guesses only counts leave."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from embryofl import packing
from embryofl.errors import UserError
from embryofl.masked_update import PATIENT_CLIP, to_vector
from embryofl.metrics import ScoreSums
from embryofl.models.drawn import DRAWN, drawn_features
from embryofl.models.zoo import create_model
from embryofl.pooled_metrics import by_attack
from embryofl.settings import PRIVATE, RunSettings, run_settings
from embryofl_clinic.policy.sent import SentLog
from embryofl_clinic.privacy.canaries import Canaries, CanaryFile
from embryofl_clinic.workload.embryo import EmbryoWorkload
from embryofl_data.dataset import ClinicData
from kits.head_clinics import Clinic, summed
from kits.pictures import Population, examples

SETTINGS = RunSettings(**PRIVATE, rounds=2, dp_epsilon=8, audit_canaries=50)
HEAD = np.full(16, 0.01)
OWN = 'metrics = "own"\nrequire_secure_aggregation = false\n'
POOLED = 'metrics = "pooled"\npeers = "first"\nmin_cell = 20\n'


class Few(Population):
    """On the 16 numbers of `lite0_16`."""

    def draw(self, n):
        embeddings, labels = super().draw(n)
        return embeddings[:, :16], labels


def asked(run="run-0001", work="train", settings=SETTINGS):
    return SimpleNamespace(run=run, work=work, settings=settings)


def values(canaries):
    return [each.tolist() for each in (canaries.features, canaries.labels, canaries.included)]


def test_canaries_of_a_run_stay_the_same_and_another_run_or_clinic_has_others(tmp_path):
    file = CanaryFile(tmp_path)
    assert file.of(asked(work="audit")) is None is file.of(asked(settings=RunSettings()))
    drawn = values(file.of(asked()))
    assert drawn == values(CanaryFile(tmp_path).of(asked())) == values(file.of(asked(work="audit")))
    assert len(drawn[1]) == 50 and {*drawn[1]} == {0, 1} and {*drawn[2]} == {True, False}
    assert drawn[2] != values(file.of(asked("run-0002")))[2]
    assert drawn[2] != values(CanaryFile(tmp_path / "other").of(asked()))[2]
    assert file.of(asked(work="evaluate")) is None


def test_projection_has_features_of_all_drawn_embryos():
    assert drawn_features().shape == (DRAWN, 16) and np.isfinite(drawn_features()).all()


class Work(EmbryoWorkload):
    """Patients with one embryo each; the last one gives nothing, or as much as one can."""

    def __init__(self, patients, *, left_out):
        pixels, labels = Few(0).draw(patients)
        pixels[-1] = np.nan if left_out else 9.0
        train = examples(pixels, labels)
        self.data = ClinicData(None, 160, train, train, train)
        self._make_model(SETTINGS, "cpu", None)
        self.load(packing.pack(create_model("lite0_16").state_dict()))


def step(canaries, patients=20, *, left_out=False):
    work = Work(patients, left_out=left_out)
    made = work.private_step(asked(), canaries)
    assert work.examples == patients
    return made / SETTINGS.learning_rate


@pytest.fixture
def canaries(tmp_path):
    return CanaryFile(tmp_path).of(asked())


def test_a_patient_changes_no_more_with_canaries_than_without_and_a_canary_no_more_than_a_patient(canaries):
    plain = step(None) - step(None, left_out=True)
    assert np.linalg.norm(plain) == pytest.approx(PATIENT_CLIP / 20)
    with_canaries = step(canaries) - step(canaries, left_out=True)
    assert with_canaries == pytest.approx(plain)
    far = replace(canaries, features=np.where(np.arange(50)[:, None] == 7, np.float32(9), canaries.features))
    there, not_there = (
        step(replace(far, included=np.where(np.arange(50) == 7, coin, far.included))) for coin in (True, False)
    )
    assert np.linalg.norm(there - not_there) == pytest.approx(PATIENT_CLIP / 20)


def test_many_canaries_of_a_small_clinic_make_no_update_too_long(canaries):
    """Whether an update was clipped is told without noise."""
    all_one_way = replace(canaries, features=np.full((50, 16), 9, np.float32), labels=np.ones(50, int))
    made = step(replace(all_one_way, included=np.ones(50, bool)), patients=2)
    assert np.linalg.norm(made) == pytest.approx(PATIENT_CLIP)
    assert [*to_vector(made, 1.0, PATIENT_CLIP)[-2:]] == [0, 0]


def test_guesses_are_right_more_often_where_the_head_has_gone_towards_those_that_are_in():
    """Not always: there are more canaries than numbers."""
    counted = {True: 0, False: 0}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        features, labels, included = (
            drawn_features()[rng.choice(DRAWN, 50)],
            rng.integers(0, 2, 50),
            rng.random(50) < 0.5,
        )
        made, inputs = Canaries(features, labels, included), np.append(features, np.ones((50, 1)), axis=1)
        for there in (True, False):
            coins = included if there else rng.random(50) < 0.5
            counted[there] += made.guessed(((2 * labels - 1) * coins) @ inputs)[0]
    assert counted[True] > 0.65 * 20 * 32 and 0.45 * 20 * 32 < counted[False] < 0.55 * 20 * 32


def clinic(folder, name, seed, policy):
    made = Clinic(name, folder, policy, Few(seed), SETTINGS)
    SentLog(made.state).note("update", 1, "run-0001", 1)
    return made


def test_a_clinic_trains_with_canaries_of_its_own_and_releases_how_many_guesses_were_right(tmp_path):
    anna = clinic(tmp_path, "anna", 0, OWN)
    trained = anna.ask("train", 1, 1, np.zeros(16), 0.0)
    assert trained.examples == 40  # patients
    found = anna.ask("audit", 1, 2, HEAD, 0.0).audit
    counts = ScoreSums.from_dict(found["canaries"]).days[1].counts
    assert counts.sum() == 32 and set(found) >= {"loss", "canaries"}
    assert [*ScoreSums.from_dict(found["loss"]).days[0].counts] == [80, 40]
    anna.handler = anna.make_handler()
    assert anna.ask("audit", 1, 2, HEAD, 0.0).audit == found


def test_guesses_of_clinics_with_pooled_metrics_leave_under_masks(tmp_path):
    three = [clinic(tmp_path, name, seed, POOLED) for seed, name in enumerate(("anna", "bert", "cleo"))]
    for one in three:
        CanaryFile(one.state).of(asked())
    sums = by_attack(summed(three, 1, HEAD, 0.0, kind="audit"))
    assert sums["canaries"].days[1].counts.sum() == 3 * 32 and sums["loss"].days[0].counts.sum() == 360
    assert (sums["canaries"].days[1].histogram > 0).any(axis=0).sum() == 1


def test_guesses_of_two_clinics_alone_are_withheld(tmp_path):
    three = [clinic(tmp_path, name, seed, POOLED) for seed, name in enumerate(("anna", "bert", "cleo"))]
    for one in three[:2]:
        CanaryFile(one.state).of(asked())
    withheld = by_attack(summed(three, 1, HEAD, 0.0, kind="audit"))["canaries"].days[1]
    assert withheld.counts.sum() == 0 and withheld.withheld == 2


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"audit_canaries": 50}, "this run states none: set dp_epsilon, such as dp_epsilon=8, or leave"),
        ({**PRIVATE, "dp_epsilon": 8, "audit_canaries": 44}, "choose 45 or more, or leave it out"),
    ],
)
def test_settings_that_canaries_cannot_test_are_refused_with_what_to_do(values, words):
    with pytest.raises(UserError, match=words):
        run_settings(values)
