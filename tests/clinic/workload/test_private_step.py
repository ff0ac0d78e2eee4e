"""What the hub reads in a run with `dp_epsilon`, with and without one patient: no further apart than the stated epsilon."""

import math
import secrets
from types import SimpleNamespace

import numpy as np
import pytest

from embryofl import packing
from embryofl.masked_update import roster_deviation, to_vector, update_bound, with_noise
from embryofl.models.zoo import create_model
from embryofl.secagg.fixed_point import ONE, from_ring
from embryofl.secagg.messages import Advert, Roster, Terms, digest
from embryofl.secagg.noise import add_noise
from embryofl.settings import PRIVATE, RunSettings
from embryofl_clinic.workload.embryo import EmbryoWorkload
from embryofl_data.dataset import ClinicData, ImageExamples

SETTINGS = RunSettings(**PRIVATE, rounds=10, dp_epsilon=8, min_clinics=4, masked_weights="examples")
PATIENTS = {"anna": 20, "bert": 30, "cleo": 25, "dora": 40}
BOUND = update_bound(SETTINGS, 1, None, math.inf)
READ = 400  # sums
FAR = 1.15  # three standard errors of the deviation of so many


class Work(EmbryoWorkload):
    """On embeddings, without files. Anna's last patient has 12 embryos of two images that pull all the others' way."""

    def __init__(self, name, *, left_out=False):
        rng, count = np.random.default_rng(len(name) + PATIENTS[name]), PATIENTS[name]
        owners = np.repeat(np.arange(count), 2)
        embryos, pixels = np.arange(2 * count), rng.normal(0, 0.3, (2 * count, 16))
        if name == "anna":
            owners = np.append(owners, np.full(22, count - 1))
            embryos = np.append(embryos, 2 * count + np.arange(22) // 2)
            pixels = np.append(pixels, np.ones((22, 16)), axis=0)
            pixels[2 * count - 2 : 2 * count] = 1.0
        labels = (embryos % 2) | (pixels[:, 0] == 1.0)
        if left_out:  # the patient is there, as the number of patients is public, and gives nothing
            pixels[pixels[:, 0] == 1.0] = np.nan
        rows = np.arange(len(owners))
        days = np.full(len(owners), 5)
        train = ImageExamples(pixels.astype(np.float32), rows, labels, days, embryos, owners, owners)
        self.data = ClinicData(None, 160, train, train, train)
        self._make_model(SETTINGS, "cpu", None)


def step_of(name, **how):
    work = Work(name, **how)
    work.load(packing.pack(create_model("lite0_16").state_dict()))
    assert work.examples == PATIENTS[name]
    return work, work.private_step(SimpleNamespace(settings=SETTINGS))


def roster():
    terms = Terms(
        run="run-0001", round=1, kind="train", attempt=1, model="a" * 64, work=digest(SETTINGS), length=19, bound=BOUND
    )
    adverts = [
        Advert.model_construct(clinic=name, weight=count, mask_key=name, encryption_key=name, commitment=name)
        for name, count in PATIENTS.items()
    ]
    return Roster.model_construct(terms=terms, adverts=tuple(adverts), drawn={})


def sums(names, left_out, less=""):
    """Noisy sums of these clinics' vectors, as a mean, (READ, floats); without the noise of the clinic `less`."""
    all_of = roster()
    steps = {name: step_of(name, left_out=left_out and name == "anna")[1] for name in names}
    made = []
    for _ in range(READ):
        total = np.zeros(19, np.uint32)
        for name, step in steps.items():
            vector = to_vector(step, all_of.share((name,), SETTINGS.share_cap), BOUND)
            if name != less:
                add_noise(vector[:-2], secrets.token_bytes(32), roster_deviation(SETTINGS, all_of, 17))
            total += vector
        made.append(from_ring(total[:-2], all_of.share(names, SETTINGS.share_cap), BOUND))
    return np.array(made)


def deviation(*sets, way):
    """Of answers around the mean of their set, in one direction."""
    return np.concatenate([(each - each.mean(axis=0)) @ way for each in sets]).std()


@pytest.mark.parametrize(
    ("names", "less"),
    [(("anna", "bert", "cleo", "dora"), ""), (("anna", "bert", "cleo"), ""), (("anna", "bert", "cleo"), "bert")],
    ids=["all four", "dora has gone", "dora has gone, and bert helps the hub"],
)
def test_many_sums_read_with_and_without_a_patient_tell_no_more_than_the_stated_epsilon(names, less):
    exact = [sum(step_of(n, left_out=out and n == "anna")[1] * PATIENTS[n] for n in names) for out in (False, True)]
    share = sum(PATIENTS[n] for n in names)
    changed = np.linalg.norm(exact[0] - exact[1]) / share
    assert changed == pytest.approx(BOUND / share, rel=0.01)  # that patient gives as much as anyone can
    way = (exact[0] - exact[1]) / share / changed
    noise = deviation(sums(names, False, less), sums(names, True, less), way=way)
    assert changed / noise < SETTINGS.private_mu * FAR
    if less:  # the fewest clinics that have all of it
        assert changed / noise > SETTINGS.private_mu / FAR


def test_a_clinic_alone_without_masks_adds_all_of_the_noise():
    model = packing.pack(create_model("lite0_16").state_dict())
    work, step = step_of("anna")
    made = []
    for _ in range(READ):
        noisy = with_noise(SETTINGS, step, work.examples, secrets.token_bytes(32), model, work.layout)
        made.append(np.concatenate([v.astype(np.float64) for v in work.layout.section_views(noisy)]))
    spread = (np.array(made) - step).std()
    assert BOUND / PATIENTS["anna"] / spread == pytest.approx(SETTINGS.private_mu, rel=FAR - 1)


def test_settings_that_epsilon_does_not_cover_are_no_settings_of_a_run():
    for key, value in {
        "model": "lite0",
        "balance": 1.0,
        "choose": "best",
        "alarms": True,
        "strategy": "fednova",
    }.items():
        with pytest.raises(ValueError, match=f"cannot cover {key}={value}"):
            RunSettings(**{**PRIVATE, key: value}, dp_epsilon=1)


def test_noise_is_whole_steps_far_above_three():
    """As its rounding needs (`private_deviation`)."""
    assert roster_deviation(SETTINGS, roster(), 17) > 1000 and ONE == 1 << 30
