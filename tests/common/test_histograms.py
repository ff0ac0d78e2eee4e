"""Metrics from merged histograms against scikit-learn's on the pooled scores, and the cost of the small-count rule.

Two embryos whose scores fall into one bin count as a tie.
"""

import numpy as np
import pytest
from sklearn import metrics as reference

from embryofl.metrics import EDGES, SCORE_FLOOR, SMALLEST_COUNT, ScoreSums, merge
from embryofl.metrics.bins import CENTRES
from embryofl.metrics.from_histogram import bootstrap as ece_interval
from embryofl.metrics.from_histogram import calibration_error

AGREE = 0.005

Part = tuple[np.ndarray, np.ndarray]


def draw(seed: int, n: int, kind: str) -> Part:
    """Scores and labels, both classes at least once: smooth, tied (few values), sure (near 0 and 1), or chance."""
    rng = np.random.default_rng([seed, n, len(kind)])
    labels = (rng.random(n) < rng.uniform(0.15, 0.7)).astype(int)
    labels[:2] = [0, 1]
    spread = {"smooth": 1.0, "tied": 1.0, "sure": 5.0, "chance": 1.0}[kind]
    shift = 0.0 if kind == "chance" else 1.2
    scores = 1 / (1 + np.exp(-spread * rng.normal(shift * (labels - 0.5), 1.0)))
    return (np.round(scores, 1) if kind == "tied" else scores), labels


def sums_of(part: Part) -> ScoreSums:
    return ScoreSums.from_scores(*part, np.full(len(part[0]), 5))


def pooled(parts: list[Part]) -> Part:
    scores, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    return scores, labels


def reference_ece(scores: np.ndarray, labels: np.ndarray) -> float:
    tenth = np.minimum(np.searchsorted(np.arange(11) / 10, scores, side="right") - 1, 9)
    return sum(abs(scores[tenth == b].sum() - labels[tenth == b].sum()) for b in range(10)) / len(scores)


def ties(sums: ScoreSums) -> float:
    """Half the share of pairs of a positive and a negative that lie in one bin: the most that AUROC can be off."""
    negatives, positives = sums.pooled().histogram
    return float(negatives @ positives / (2 * negatives.sum() * positives.sum()))


@pytest.mark.parametrize("kind", ["smooth", "tied", "sure", "chance"])
@pytest.mark.parametrize("sizes", [(2,), (5, 3), (20, 12), (60, 130, 75), (400, 900)])
def test_merged_histograms_agree_with_scikit_learn(kind: str, sizes: tuple[int, ...]) -> None:
    for seed in range(12):
        parts = [draw(100 * seed + i, n, kind) for i, n in enumerate(sizes)]
        scores, labels = pooled(parts)
        merged = merge(sums_of(part) for part in parts)
        summary = merged.summary()
        kept = np.clip(scores, SCORE_FLOOR, 1 - SCORE_FLOOR)  # log(0) is not defined
        assert summary.loss == pytest.approx(reference.log_loss(labels, kept), abs=1e-6)
        assert summary.brier == pytest.approx(reference.brier_score_loss(labels, scores), abs=1e-9)
        assert summary.ece == pytest.approx(reference_ece(scores, labels), abs=AGREE)
        area = reference.roc_auc_score(labels, scores)
        assert abs((summary.auroc or 0) - area) <= ties(merged) + 1e-9
        if kind == "tied":  # equal scores are ties for scikit-learn, too
            assert summary.auroc == pytest.approx(area, abs=1e-9)
        if (
            len(labels) > 250 and kind != "sure"
        ):  # half of those scores are nearer to 0 or 1 than the finest bin is wide
            assert summary.auroc == pytest.approx(area, abs=AGREE)
            assert summary.auprc == pytest.approx(reference.average_precision_score(labels, scores), abs=AGREE)
        for threshold in (0.1, 0.3, 0.5, 0.7):  # tenths are edges: exact
            at = merged.summary(threshold=threshold)
            assert at.threshold == threshold
            assert at.sensitivity == pytest.approx((scores >= threshold)[labels == 1].mean())
            assert at.specificity == pytest.approx((scores < threshold)[labels == 0].mean())


def test_the_small_count_rule_costs_little() -> None:
    """With three clinics of 40 to 130 embryos the mean cost is below 0.005 for AUROC and ECE; single runs can cost more."""
    cost: dict[str, list[float]] = {name: [] for name in ("auroc", "auprc", "ece", "sensitivity", "specificity")}
    for seed in range(40):
        parts = [sums_of(draw(1000 * seed + i, n, "smooth")) for i, n in enumerate((40, 130, 75))]
        before, after = merge(parts).summary().to_dict(), merge(p.suppress() for p in parts).summary().to_dict()
        assert (after["n"], after["loss"], after["brier"]) == (before["n"], before["loss"], before["brier"])  # exact
        for name, values in cost.items():
            values.append(abs((after[name] or 0) - (before[name] or 0)))
    print({name: (round(float(np.mean(v)), 4), round(max(v), 4)) for name, v in cost.items()})
    assert all(np.mean(values) < AGREE for name, values in cost.items() if name in ("auroc", "ece"))
    assert all(max(values) < 0.06 for values in cost.values())


@pytest.mark.parametrize(
    ("sizes", "auroc", "auprc"),
    [((14, 14), 0.03, 0.06), ((50, 50), 0.004, 0.012), ((100, 100), 0.0015, 0.006), ((12, 100), 0.005, 0.015)],
)
def test_results_of_three_clinics_are_as_exact_as_documented(sizes, auroc, auprc) -> None:
    """The table in docs/results.md: metrics as the hub computes them against those of the scores themselves."""
    off: dict[str, list[float]] = {"auroc": [], "auprc": []}
    for seed in range(80):
        sizes_of_three = np.random.default_rng(seed).integers(sizes[0], sizes[1] + 1, 3)
        parts = [draw_with_both_labels(100 * seed + i, n) for i, n in enumerate(sizes_of_three)]
        summary, (scores, labels) = merge(sums_of(part).suppress() for part in parts).summary(), pooled(parts)
        off["auroc"].append((summary.auroc or 0) - reference.roc_auc_score(labels, scores))
        off["auprc"].append((summary.auprc or 0) - reference.average_precision_score(labels, scores))
    sizes_of_error = {name: np.abs(values) for name, values in off.items()}
    for name, values in sizes_of_error.items():
        print(f"{sizes} {name}: {values.mean():.4f} ({values.max():.4f}), on average {np.mean(off[name]):+.4f}")
    assert sizes_of_error["auroc"].mean() < auroc and sizes_of_error["auprc"].mean() < auprc
    assert np.mean(off["auprc"]) < 0, "ties lower the average precision, as documented"


def draw_with_both_labels(seed: int, n: int) -> Part:
    """Smooth scores with at least the smallest count of each label, so that nothing is withheld."""
    rng = np.random.default_rng([seed, n])
    labels = np.zeros(n, int)
    labels[: rng.integers(SMALLEST_COUNT, n - SMALLEST_COUNT + 1)] = 1
    separation = rng.uniform(0, 2.5)
    return 1 / (1 + np.exp(-rng.normal(separation * (labels - 0.5), 1.1))), labels


def test_metric_of_a_tiny_set_is_withheld_not_wrong() -> None:
    scores, labels = draw(1, 40, "smooth")
    few = np.concatenate([np.flatnonzero(labels == 1)[:4], np.flatnonzero(labels == 0)])
    assert sums_of((scores[few], labels[few])).suppress().summary().auroc is None


def test_every_tenth_is_the_edge_of_a_bin() -> None:
    assert set(np.round(np.arange(11) / 10, 10)) <= set(np.round(EDGES, 10))
    assert np.all(np.diff(EDGES) > 0) and EDGES[0] == 0 and EDGES[-1] == 1 and len(EDGES) == 257
    assert np.allclose(EDGES, 1 - EDGES[::-1])


def test_interval_of_the_calibration_error_covers_resampled_embryos() -> None:
    histogram = sums_of(draw(3, 300, "smooth")).pooled().histogram
    low, high = ece_interval(histogram) or (1.0, 0.0)
    assert low < (calibration_error(histogram, CENTRES) or 0) + 0.02 and high > (calibration_error(histogram) or 0)
    assert ece_interval(histogram) == (low, high)  # deterministic: a resumed run writes the same
