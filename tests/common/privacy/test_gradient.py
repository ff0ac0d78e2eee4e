"""What one patient changes of a clinic's step is bounded, however many images the patient has."""

import numpy as np
import pytest

from embryofl.privacy.gradient import clipped_step

CLIP = 0.5


def clinic(seed, patients=6, features=4):
    """Weights, features, labels, embryos and patients: up to five embryos each, of up to three images."""
    rng, rows = np.random.default_rng(seed), []
    embryo = 0
    for patient in range(patients):
        for _ in range(rng.integers(1, 6)):
            rows += [(embryo, patient)] * rng.integers(1, 4)
            embryo += 1
    embryos, owners = np.array(rows).T
    weights, pixels = rng.normal(0, 2, features + 1), rng.normal(0, 3, (len(rows), features)).astype(np.float32)
    return weights, pixels, rng.integers(0, 2, embryo)[embryos], embryos, owners


def renumbered(values):
    return np.unique(values, return_inverse=True)[1]


@pytest.mark.parametrize("seed", range(20))
def test_a_patient_who_is_left_out_changes_the_sum_by_the_clip_at_most(seed):
    weights, pixels, labels, embryos, owners = clinic(seed)
    everyone = 6 * clipped_step(weights, pixels, labels, embryos, owners, CLIP)
    for patient in range(6):
        kept = owners != patient
        parts = pixels[kept], labels[kept], renumbered(embryos[kept]), renumbered(owners[kept])
        without = 5 * clipped_step(weights, *parts, CLIP)
        assert np.linalg.norm(everyone - without) <= CLIP * (1 + 1e-12)


def test_a_patient_counts_once_however_often_the_images_are_there():
    weights, pixels, labels, embryos, owners = clinic(0)
    again = np.flatnonzero(owners == 2)
    more = np.concatenate([np.arange(len(owners)), again])
    extra = embryos[more]
    extra[len(owners) :] = embryos.max() + 1 + renumbered(embryos[again])  # as other embryos of the same patient
    once = clipped_step(weights, pixels, labels, embryos, owners, CLIP)
    twice = clipped_step(weights, pixels[more], labels[more], extra, owners[more], CLIP)
    np.testing.assert_allclose(twice, once, rtol=1e-12)


def test_the_step_lowers_the_loss_and_without_a_clip_it_is_the_gradient():
    weights, pixels, labels, embryos, owners = clinic(3)
    single = np.arange(len(labels))  # each image a patient

    def loss(w):
        margins = (2 * labels - 1) * (pixels.astype(float) @ w[:-1] + w[-1])
        return np.logaddexp(0, -margins).mean()

    step = clipped_step(weights, pixels, labels, single, single, np.inf)
    for number in range(len(weights)):
        near = np.eye(len(weights))[number] * 1e-6
        slope = (loss(weights + near) - loss(weights - near)) / 2e-6
        assert step[number] == pytest.approx(-slope, abs=1e-6)


def test_a_patient_whose_gradient_is_not_finite_counts_as_nothing():
    weights, pixels, labels, embryos, owners = clinic(1)
    broken = pixels.copy()
    broken[np.flatnonzero(owners == 4)[0]] = np.nan
    kept = owners != 4
    parts = pixels[kept], labels[kept], renumbered(embryos[kept]), renumbered(owners[kept])
    expected = clipped_step(weights, *parts, CLIP) * 5 / 6
    np.testing.assert_allclose(clipped_step(weights, broken, labels, embryos, owners, CLIP), expected)
