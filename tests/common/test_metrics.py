"""The hub computes the same metrics from sums as from the scores, and the sums reveal no more than they may."""

import json
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as reference

from embryofl.metrics import BIN_WIDTH, BINS, EDGES, ScoreSums, merge


def draw(seed: int, n: int, separation: float = 1.0, day: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random scores, labels and days of n embryos."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    scores = 1 / (1 + np.exp(-rng.normal(labels * separation - 0.5, 1.0)))
    return scores, labels, np.full(n, day)


def clinics(seed: int, sizes: tuple[int, ...] = (40, 130, 75)) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    return [draw(seed * 100 + i, n, 0.5 + i) for i, n in enumerate(sizes)]


def reference_ece(scores: np.ndarray, labels: np.ndarray) -> float:
    bins = np.minimum((scores * 10).astype(int), 9)
    return sum(abs(scores[bins == b].sum() - labels[bins == b].sum()) for b in range(10)) / len(scores)


@pytest.mark.parametrize("seed", range(10))
def test_merged_sums_give_the_metrics_of_the_pooled_scores(seed: int) -> None:
    parts = clinics(seed)
    summary = merge(ScoreSums.from_scores(*part) for part in parts).summary(5)
    scores, labels, _ = (np.concatenate(column) for column in zip(*parts, strict=True))
    assert (summary.n, summary.positives, summary.withheld) == (len(scores), labels.sum(), 0)
    assert summary.loss == pytest.approx(reference.log_loss(labels, scores))
    assert summary.brier == pytest.approx(reference.brier_score_loss(labels, scores))
    assert summary.auroc == pytest.approx(reference.roc_auc_score(labels, scores), abs=BIN_WIDTH)
    assert summary.auprc == pytest.approx(reference.average_precision_score(labels, scores), abs=3 * BIN_WIDTH)
    assert summary.ece == pytest.approx(reference_ece(scores, labels), abs=0.03)
    for threshold in (0.1, 0.5, 0.8):
        at = merge(ScoreSums.from_scores(*part) for part in parts).summary(5, threshold)
        assert at.threshold == pytest.approx(threshold, abs=BIN_WIDTH / 2)
        called = scores >= at.threshold
        assert at.sensitivity == pytest.approx(called[labels == 1].mean())
        assert at.specificity == pytest.approx(1 - called[labels == 0].mean())


def test_scores_on_bin_edges_are_exact() -> None:
    """With nothing lost to the bins, AUROC, AUPRC and the ROC curve are scikit-learn's, ties included."""
    rng = np.random.default_rng(1)
    scores = EDGES[rng.integers(0, 12, 200) * 20]
    labels = rng.integers(0, 2, 200)
    sums = ScoreSums.from_scores(scores, labels, np.zeros(200))
    assert sums.summary().auroc == pytest.approx(reference.roc_auc_score(labels, scores))
    assert sums.summary().auprc == pytest.approx(reference.average_precision_score(labels, scores))
    fpr, tpr, thresholds = sums.roc()
    want_fpr, want_tpr, want = reference.roc_curve(labels, scores, drop_intermediate=False)
    for a, b, t in zip(want_fpr[1:], want_tpr[1:], want[1:], strict=True):
        at = int(np.flatnonzero(np.isclose(thresholds, t))[0])
        assert (fpr[at], tpr[at]) == pytest.approx((a, b))


def test_confident_scores_keep_their_order() -> None:
    """Bins are narrow near 0 and 1, so that scores of a very confident network can still be ranked."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 400)
    scores = 1 / (1 + np.exp(6 - rng.normal(labels, 1.0)))
    sums = ScoreSums.from_scores(scores, labels, np.zeros(400))
    assert sums.summary().auroc == pytest.approx(reference.roc_auc_score(labels, scores), abs=BIN_WIDTH)


def test_standard_error_covers_the_truth() -> None:
    """The true area lies within two standard errors in about 95 of 100 samples."""
    truth = 0.7602  # of two unit normals one apart: Phi(1 / sqrt(2))
    inside = 0
    for seed in range(200):
        summary = ScoreSums.from_scores(*draw(seed, 80)).summary()
        assert summary.auroc is not None and summary.auroc_se is not None
        inside += abs(summary.auroc - truth) < 2 * summary.auroc_se
    assert 180 <= inside <= 198


def test_days_stay_apart() -> None:
    """Two days of different prevalence: each one alone is chance, together they look good."""
    rng = np.random.default_rng(3)
    days = rng.choice([3, 5], 400)
    labels = (rng.random(400) < np.where(days == 5, 0.6, 0.1)).astype(int)
    scores = np.where(days == 5, 0.6, 0.2) + 0.1 * rng.random(400)
    sums = ScoreSums.from_scores(scores, labels, days)
    for day in (3, 5):
        assert abs((sums.summary(day).auroc or 0) - 0.5) < 0.1
    assert (sums.summary().auroc or 0) > 0.7
    assert sums.summary(2).n == 0


def test_metric_that_cannot_be_computed_is_none() -> None:
    nothing = ScoreSums().summary()
    assert nothing.n == 0
    assert nothing.auroc is nothing.loss is nothing.ece is nothing.sensitivity is None
    one_class = ScoreSums.from_scores([0.2, 0.9], [0, 0], [5, 5]).summary(5)
    assert one_class.auroc is one_class.auprc is one_class.sensitivity is None
    assert one_class.specificity == 0.5
    assert len(ScoreSums().roc()[0]) == 0


@pytest.mark.parametrize(
    ("scores", "labels", "days"),
    [([float("nan")], [1], [5]), ([1.5], [1], [5]), ([0.5], [2], [5]), ([0.5], [1], [-1]), ([0.5, 0.5], [1], [5])],
)
def test_impossible_scores_labels_and_days_are_rejected(
    scores: list[float], labels: list[int], days: list[int]
) -> None:
    with pytest.raises(ValueError, match="found"):
        ScoreSums.from_scores(scores, labels, days)


def test_too_few_embryos_of_a_label_withhold_their_day() -> None:
    small = ScoreSums.from_scores([0.1] * 30 + [0.9] * 4, [0] * 30 + [1] * 4, [3] * 34)
    large = ScoreSums.from_scores(*draw(4, 60))
    released = merge((small, large)).suppress(5)
    text = json.dumps(released.to_dict()["days"]["3"])
    assert not any(digit in text for digit in "23456789")  # zeros, and the 1 of "withheld"
    assert released.summary(3).withheld == 1
    assert released.summary(3).n == 0
    assert released.summary(5).n == 60
    assert released.summary(5).withheld == 0
    # The hub counts the clinics that withheld the day and uses the others.
    assert merge((released, released, large)).summary(3).withheld == 2
    # Zero embryos of a label are not a small count.
    assert ScoreSums.from_scores([0.1] * 30, [0] * 30, [3] * 30).suppress(5).summary(3).n == 30


@pytest.mark.parametrize("seed", range(5))
def test_released_bins_hold_at_least_three_embryos(seed: int) -> None:
    scores, labels, days = draw(seed, 47)
    sums = ScoreSums.from_scores(scores, labels, days)
    released = sums.suppress(minimum=5, group=3)
    filled = released.days[5].histogram.sum(axis=0)
    assert filled[filled > 0].min() >= 3
    assert released.days[5].counts.tolist() == sums.days[5].counts.tolist()
    # The AUROC of many embryos hardly changes.
    parts = [ScoreSums.from_scores(*part) for part in clinics(seed)]
    before, after = (merge(p).summary(5).auroc for p in (parts, [p.suppress() for p in parts]))
    assert after == pytest.approx(before, abs=0.02)


def test_sums_survive_json() -> None:
    parts = (*draw(5, 90), *draw(6, 9, day=0)), draw(7, 130)
    scores, labels, days = (np.concatenate([parts[0][i], parts[0][3 + i]]) for i in range(3))
    for sums in (ScoreSums.from_scores(scores, labels, days).suppress(), ScoreSums.from_scores(*parts[1])):
        value = json.loads(json.dumps(sums.to_dict()))
        read = ScoreSums.from_dict(value)
        assert read.to_dict() == value and set(read.days) == set(sums.days)
        assert read == sums and read.summary() == sums.summary()


def _set(path: list[Any], value: object) -> Any:
    def change(top: dict[str, Any]) -> None:
        target: Any = top
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set(["format"], 2),
        _set(["format"], True),
        _set(["bins"], 10),
        _set(["extra"], 1),
        _set(["days"], []),
        _set(["days"], {str(day): {} for day in range(100)}),
        _set(["days", "x"], {}),
        _set(["days", "05"], {}),
        _set(["days", "15"], {}),
        _set(["days", "5"], None),
        _set(["days", "5", "names"], ["a"]),
        _set(["days", "5", "withheld"], -1),
        _set(["days", "5", "withheld"], True),
        _set(["days", "5", "histogram"], [[0] * BINS]),
        _set(["days", "5", "histogram", 0], [0] * (BINS - 1)),
        _set(["days", "5", "histogram", 0], "0" * BINS),
        _set(["days", "5", "histogram", 0, 3], -1),
        _set(["days", "5", "histogram", 0, 3], 1.0),
        _set(["days", "5", "histogram", 0, 3], True),
        _set(["days", "5", "histogram", 0, 3], float("nan")),
        _set(["days", "5", "histogram", 0, 3], 10**30),
        _set(["days", "5", "histogram", 0], [9_000_000] * BINS),
        _set(["days", "5", "log_loss"], [0.0]),
        _set(["days", "5", "log_loss", 0], -1.0),
        _set(["days", "5", "log_loss", 0], float("nan")),
        _set(["days", "5", "log_loss", 0], float("inf")),
        _set(["days", "5", "log_loss", 0], 10**400),
        _set(["days", "5", "log_loss", 0], True),
        _set(["days", "5", "squared_error", 1], 1000.0),
        _set(["days", "5", "squared_error", 1], "1"),
    ],
)
def test_malformed_sums_are_rejected(change: Any) -> None:
    value = ScoreSums.from_scores(*draw(7, 40)).to_dict()
    ScoreSums.from_dict(value)
    change(value)
    with pytest.raises(ValueError, match="expected|found"):
        ScoreSums.from_dict(value)


@pytest.mark.parametrize("value", [None, [], "x", 1, {}, {"days": {}}])
def test_anything_else_is_rejected(value: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        ScoreSums.from_dict(value)
