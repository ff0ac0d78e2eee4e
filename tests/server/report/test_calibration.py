"""Calibration, threshold and decision curve from histograms equal those from the scores themselves."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from embryofl.metrics import ScoreSums, merge
from embryofl.metrics.bins import CENTRES, expit, logit
from embryofl.metrics.from_histogram import wilson
from embryofl_server.report.calibration import (
    LEAST_TO_LEARN,
    TEMPERATURES,
    Calibration,
    brier,
    learn,
    line,
    reliability,
)
from embryofl_server.report.decision import PROBABILITIES, choose_threshold, confusion, decision_curve


def draw(seed: int, n: int, temperature: float = 2.0, intercept: float = -1.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose true probabilities are ``expit(logit(score) / temperature + intercept)``."""
    rng = np.random.default_rng(seed)
    scores = expit(rng.normal(0, 2.5, n))
    return scores, (rng.random(n) < expit(logit(scores) / temperature + intercept)).astype(int)


def sums_of(scores: np.ndarray, labels: np.ndarray) -> ScoreSums:
    return ScoreSums.from_scores(scores, labels, np.full(len(scores), 5))


def histogram_of(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return sums_of(scores, labels).pooled().histogram


@pytest.mark.parametrize("seed", range(5))
def test_slope_and_intercept_equal_those_of_a_logistic_regression_on_the_scores(seed: int) -> None:
    scores, labels = draw(seed, 400)
    fitted = line(histogram_of(scores, labels))
    regression = LogisticRegression(C=np.inf).fit(logit(scores)[:, None], labels)
    assert fitted is not None
    assert (fitted.slope, fitted.intercept) == pytest.approx(
        (regression.coef_[0, 0], regression.intercept_[0]), abs=0.005
    )


def test_errors_of_slope_and_intercept_cover_the_truth() -> None:
    inside = np.zeros(3)
    for seed in range(200):
        fitted = line(histogram_of(*draw(seed, 150, temperature=1.0, intercept=0.0)))
        assert fitted is not None
        inside += [
            abs(fitted.slope - 1) < 1.96 * fitted.slope_se,
            abs(fitted.intercept) < 1.96 * fitted.intercept_se,
            abs(fitted.in_the_large) < 1.96 * fitted.in_the_large_se,
        ]
    assert all(inside >= 180) and all(inside <= 199)


def test_calibration_learned_from_suppressed_histograms_corrects_the_scores() -> None:
    parts = [draw(seed, 300) for seed in range(4)]
    calibration = learn(merge(sums_of(*part).suppress() for part in parts).pooled().histogram)
    assert calibration is not None
    assert (calibration.temperature, calibration.intercept) == pytest.approx((2.0, -1.0), abs=0.3)
    test_scores, test_labels = draw(99, 2000)
    before, after = histogram_of(test_scores, test_labels), calibration.apply(CENTRES)
    assert (brier(before, after)[0] or 1) < (brier(before)[0] or 0) - 0.02
    fit = line(before, after)
    assert fit is not None and fit.slope == pytest.approx(1, abs=0.2) and abs(fit.in_the_large) < 0.25


def test_calibration_keeps_the_order_and_follows_the_documented_formula() -> None:
    scores = np.linspace(0, 1, 101)
    calibrated = Calibration(1.7, -0.4).apply(scores)
    assert np.all(np.diff(calibrated) > 0) and np.all((calibrated > 0) & (calibrated < 1))
    assert calibrated[30] == pytest.approx(1 / (1 + np.exp(-(np.log(0.3 / 0.7) / 1.7 - 0.4))))
    assert Calibration().apply(scores[1:-1]) == pytest.approx(scores[1:-1])


def test_few_separable_or_useless_scores_give_no_extreme_calibration() -> None:
    few = histogram_of(np.linspace(0.1, 0.9, 30), np.arange(30) % 30 < LEAST_TO_LEARN - 1)
    assert learn(few) is None and choose_threshold(few) is None
    apart = histogram_of(np.r_[np.full(20, 0.2), np.full(20, 0.8)], np.r_[np.zeros(20, int), np.ones(20, int)])
    assert line(apart) is None
    calibration = learn(apart)
    assert calibration is not None and 0.02 < calibration.apply(0.2) < 0.2
    backwards = learn(
        histogram_of(np.r_[np.full(50, 0.2), np.full(50, 0.8)], np.r_[np.ones(50, int), np.zeros(50, int)])
    )
    assert backwards is not None and backwards.temperature == TEMPERATURES[1]
    assert backwards.apply(0.5) == pytest.approx(0.5, abs=0.01)
    one_class = histogram_of(np.full(40, 0.5), np.zeros(40, int))
    assert learn(one_class) is None and line(one_class) is None and decision_curve(one_class, CENTRES) == []


def test_threshold_is_the_best_by_its_rule() -> None:
    scores, labels = draw(5, 300)
    histogram = histogram_of(scores, labels)
    youden = choose_threshold(histogram)
    assert youden is not None

    def index(threshold: float) -> float:
        return (scores >= threshold)[labels == 1].mean() + (scores < threshold)[labels == 0].mean() - 1

    assert index(youden) >= max(index(t) for t in np.linspace(0, 1, 500)) - 0.02
    for wanted in (0.5, 0.9, 0.99):
        chosen = choose_threshold(histogram, wanted)
        assert chosen is not None
        sensitivity = (scores >= chosen)[labels == 1].mean()
        assert sensitivity >= wanted and sensitivity < wanted + 0.03


def test_confusion_counts_embryos_and_has_wilson_intervals() -> None:
    scores, labels = draw(6, 200)
    counts = confusion(histogram_of(scores, labels), 0.4)
    called = scores >= 0.4
    assert counts["true_positives"] == (called & (labels == 1)).sum()
    assert counts["false_positives"] == (called & (labels == 0)).sum()
    assert counts["sensitivity"]["value"] == pytest.approx(called[labels == 1].mean())
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Brown, Cai and DasGupta (2001)
    low, high = wilson(0, 20) or (1, 0)
    assert low == 0 and high == pytest.approx(0.1611, abs=1e-4)


def test_net_benefit_follows_its_definition() -> None:
    scores, labels = draw(7, 300)
    rows = decision_curve(histogram_of(scores, labels), CENTRES)
    assert [row["p"] for row in rows] == list(PROBABILITIES)
    for row in rows:
        p = row["p"]
        if round(p * 10, 6) == int(p * 10):  # at an edge of a bin: exact
            benefit = ((scores >= p) & (labels == 1)).mean() - ((scores >= p) & (labels == 0)).mean() * p / (1 - p)
            assert row["model"] == pytest.approx(benefit)
        assert row["all"] == pytest.approx(labels.mean() - (1 - labels.mean()) * p / (1 - p))


def test_reliability_table_counts_every_embryo_once_and_has_no_small_row() -> None:
    scores, labels = draw(8, 130)
    histogram = histogram_of(scores, labels)
    rows = reliability(histogram, CENTRES, 10)
    assert sum(r["embryos"] for r in rows) == 130 and sum(r["good"] for r in rows) == labels.sum()
    assert all(r["embryos"] >= 10 for r in rows)
    assert [r["from"] for r in rows[1:]] == [r["to"] for r in rows[:-1]] and (rows[0]["from"], rows[-1]["to"]) == (0, 1)
    assert all(r["from"] <= r["score"] <= r["to"] for r in rows)
    assert reliability(histogram_of(scores[:9], labels[:9]), CENTRES, 10) == []
