"""Canaries in training with `dp_epsilon`: guesses of who was there prove no more than is stated, and a bug is found out.

Steinke, Nasr and Jagielski, "Privacy Auditing with One (1) Training Run", NeurIPS 2023. A canary is a patient whose gradient
is as long as the clip and orthogonal to those of the others, so that noise alone hides who was trained on. Coins decide
that. The guesser is the hub: it sends the same model in every round, and has all updates. As canaries are patients of their
own, those of many runs bound the same epsilon as those of one large run.
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from embryofl import masked_update, packing
from embryofl.masked_update import with_noise
from embryofl.privacy.gradient import clipped_step
from embryofl.privacy.one_run import one_run_epsilon, right_of
from embryofl.settings import PRIVATE, RunSettings
from embryofl_clinic.workload import embryo
from embryofl_clinic.workload.embryo import EmbryoWorkload
from embryofl_data.dataset import ClinicData, ImageExamples

SETTINGS = RunSettings(**PRIVATE, rounds=2, dp_epsilon=2)
CANARIES, RUNS = 80, 250  # of a run, one for each feature
GUESSED = 0.02  # of all: those with the highest and the lowest scores
FAR = 30.0  # of a canary's feature from 0: the gradient is longer than the clip


class Head(torch.nn.Module):
    """As `lite0_16`, with more features: more canaries a run."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(CANARIES, 1)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)


class Canaries(EmbryoWorkload):
    """A clinic of canaries, each with two embryos of one image."""

    def __init__(self):
        self.signs = np.where(np.random.default_rng(0).integers(0, 2, CANARIES), 1, -1)
        self._there = np.repeat(FAR * np.eye(CANARIES, dtype=np.float32), 2, axis=0)
        self.owners = np.repeat(np.arange(CANARIES), 2)
        self.device, self._by_patient, self.model = "cpu", True, Head()
        self._metrics = SimpleNamespace(begin_training=lambda *_: None)
        self.layout = packing.layout_of(self.model.state_dict())
        self._sent = packing.pack(self.model.state_dict())

    def updates(self, coins, key):
        """The sum of a run's updates, float64 (CANARIES,); without a canary whose coin is 0, who gives nothing."""
        rows = np.arange(2 * CANARIES)
        pixels = np.where(coins[rows // 2, None] == 1, self._there, np.float32(np.nan))
        labels = (self.signs[rows // 2] + 1) // 2
        train = ImageExamples(pixels, rows, labels, np.full(len(rows), 5), rows, self.owners, self.owners)
        self.data = ClinicData(None, 160, train, train, train)
        step = self.private_step(SimpleNamespace(settings=SETTINGS))
        total = np.zeros(CANARIES)
        for round_ in range(SETTINGS.rounds):
            noisy = with_noise(SETTINGS, step, self.examples, key + bytes([round_]), self._sent, self.layout)
            total += packing.unpack(noisy, self.layout)["head.weight"].numpy().ravel()
        return total


def proven(clinic):
    """The least epsilon, with 95 % confidence."""
    rng, scores, truth = np.random.default_rng(1), [], []
    for _ in range(RUNS):
        coins = rng.integers(0, 2, CANARIES)
        scores.append(clinic.updates(coins, rng.bytes(31)) * clinic.signs)
        truth.append(coins)
    scored, there = np.concatenate(scores), np.concatenate(truth) == 1
    guesses = 2 * int(len(scored) * GUESSED / 2)
    return one_run_epsilon(len(scored), guesses, right_of(scored, there, guesses), SETTINGS.dp_delta)


def half_the_noise(monkeypatch, clinic):
    whole = masked_update.private_deviation
    monkeypatch.setattr(masked_update, "private_deviation", lambda *args: whole(*args) / 2)


def clipping_by_image(monkeypatch, clinic):
    """Each image is clipped, and the sum of a patient's images is not."""

    def step(weights, features, labels, embryos, patients, clip):
        images = np.arange(len(features))
        clipped = clipped_step(weights, features, labels, images, images, clip)
        return clipped * len(images) / (patients.max() + 1)

    monkeypatch.setattr(embryo, "clipped_step", step)


def a_patient_counted_twice(monkeypatch, clinic):
    """Each embryo is taken for a patient of its own."""
    clinic.owners = np.arange(2 * CANARIES)


def test_canaries_prove_no_more_than_the_stated_epsilon_and_some_of_it():
    assert SETTINGS.dp_epsilon / 4 < proven(Canaries()) <= SETTINGS.dp_epsilon


@pytest.mark.parametrize("bug", [half_the_noise, clipping_by_image, a_patient_counted_twice])
def test_a_bug_of_a_factor_of_two_proves_more_than_is_stated(monkeypatch, bug):
    bug(monkeypatch, clinic := Canaries())
    assert proven(clinic) > SETTINGS.dp_epsilon


def test_the_bound_is_that_of_the_paper():
    """Without delta it is the limit of Clopper and Pearson for the rate of correct guesses, as log odds."""
    assert one_run_epsilon(100, 100, 100, 0.0) == pytest.approx(math.log(0.05**0.01 / (1 - 0.05**0.01)), abs=1e-6)
    assert one_run_epsilon(1000, 100, 50, 0.0) == one_run_epsilon(1000, 100, 90, 0.01) == 0.0
    assert one_run_epsilon(1000, 100, 90, 1e-5) < one_run_epsilon(1000, 100, 90, 0.0)
