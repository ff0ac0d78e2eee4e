"""The best possible score in the data's summary is indeed the best possible one."""

import numpy as np
import pytest

from embryofl_datagen.plan import Settings, plan_clinic
from embryofl_datagen.viability import auroc, draw_outcomes, morphology_score


@pytest.mark.parametrize("best", [0.75, 0.85, 0.95])
@pytest.mark.parametrize("clinic", [1, 2])
def test_best_possible_auroc_equals_the_requested_one(best: float, clinic: int) -> None:
    plan = plan_clinic(clinic, Settings(600, 256, 0, best))
    best_possible = plan.summary()["best_possible_auroc"]["all"]
    assert best_possible["expected"] == pytest.approx(best, abs=0.01)
    assert best_possible["drawn"] == pytest.approx(best, abs=0.03)
    assert best_possible["drawn"] == pytest.approx(auroc(plan.probability, plan.label), abs=1e-6)


@pytest.mark.slow
def test_the_mean_over_many_draws_of_the_labels_is_the_expected_value() -> None:
    morphologies = [e.morphology for e in plan_clinic(1, Settings(400, 256, 1, 0.9)).embryos]
    drawn = []
    for draw in range(60):
        probability, label = draw_outcomes(morphologies, 0.4, 0.85, np.random.default_rng([9, draw]))
        drawn.append(auroc(probability, label))
    assert np.mean(drawn) == pytest.approx(0.85, abs=0.01)


def test_no_other_order_by_morphology_beats_the_true_probability() -> None:
    plan = plan_clinic(1, Settings(3000, 256, 2, 0.85))
    best = auroc(plan.probability, plan.label)
    assert best is not None
    rng = np.random.default_rng(0)
    score = np.array([morphology_score(e.morphology) for e in plan.embryos])
    for other in (score + 0.5 * rng.standard_normal(len(score)), np.array([e.morphology.day for e in plan.embryos])):
        reached = auroc(other.astype(float), plan.label)
        assert reached is not None
        assert reached < best - 0.01


def test_day_alone_predicts_little() -> None:
    for clinic in (1, 2, 3):
        plan = plan_clinic(clinic, Settings(2000, 256, 0, 0.9))
        day = np.array([float(e.morphology.day) for e in plan.embryos])
        reached = auroc(day, plan.label)
        assert reached is not None
        assert 0.45 < reached < 0.62
        for alone in ("day3", "day5"):
            assert plan.summary()["best_possible_auroc"][alone]["expected"] == pytest.approx(0.9, abs=0.04)


def test_embryos_of_one_patient_are_alike() -> None:
    plan = plan_clinic(1, Settings(3000, 256, 0, 0.9))
    scores = np.array([morphology_score(e.morphology) for e in plan.embryos])
    patients = np.unique([e.patient for e in plan.embryos], return_inverse=True)[1]
    means = np.bincount(patients, scores) / np.bincount(patients)
    within = np.mean((scores - means[patients]) ** 2)
    assert within < 0.75 * scores.var()


def test_prevalence_equals_that_of_the_profile() -> None:
    plan = plan_clinic(3, Settings(1000, 256, 0, 0.9))
    assert plan.label.mean() == pytest.approx(plan.profile.prevalence, abs=0.002)


def test_auroc_counts_pairs_and_ties_as_half() -> None:
    assert auroc(np.array([0.1, 0.2, 0.2, 0.9]), np.array([0, 1, 0, 1])) == pytest.approx((2 + 1.5) / 4)
    assert auroc(np.array([0.1, 0.2]), np.array([1, 1])) is None
