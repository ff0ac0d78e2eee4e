"""A clinic's own AUROC and (but for rounding) AUPRC are those of its scores, however few its embryos are; of several clinics' together it is
known how far they can be off. And the two sums by which this is so are refused where no scores have them.
"""

import copy
import json
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as reference

from embryofl.metrics import SMALLEST_COUNT, ScoreSums, merge, order_blur

Scores = tuple[np.ndarray, np.ndarray, np.ndarray]


def draw(rng: np.random.Generator, n: int, kind: str = "smooth", days: tuple[int, ...] = (5,)) -> Scores:
    """Scores, labels and days of n embryos, with at least the least count of each class on each day."""
    day = np.sort(rng.choice(days, n))
    while True:
        labels = (rng.random(n) < rng.uniform(0.25, 0.7)).astype(int)
        if all(min(np.bincount(labels[day == d], minlength=2)) >= SMALLEST_COUNT for d in days):
            break
    spread = {"smooth": 1.0, "tied": 1.0, "sure": 6.0, "narrow": 0.02}[kind]
    scores = 1 / (1 + np.exp(-spread * (rng.normal(rng.uniform(0, 2.5) * (labels - 0.5), 1.0) + rng.normal(0, 0.5))))
    return (np.round(scores, 1) if kind == "tied" else scores), labels, day


def sent(part: Scores) -> ScoreSums:
    """What the hub reads of what the clinic sends."""
    return ScoreSums.from_dict(json.loads(json.dumps(ScoreSums.from_scores(*part).suppress().to_dict())))


def truth(parts: list[Scores], day: int | None = None) -> tuple[float, float]:
    scores, labels, days = (np.concatenate(column) for column in zip(*parts, strict=True))
    here = np.ones(len(days), bool) if day is None else days == day
    return (
        reference.roc_auc_score(labels[here], scores[here]),
        reference.average_precision_score(labels[here], scores[here]),
    )


@pytest.mark.parametrize("kind", ["smooth", "tied", "sure", "narrow"])
@pytest.mark.parametrize("n", [13, 40, 200])
def test_a_clinics_own_figures_are_those_of_its_scores(kind: str, n: int) -> None:
    for seed in range(20):
        days = (3, 5) if n >= 40 else (5,)
        part = draw(np.random.default_rng([seed, n]), n, kind, days)
        sums = sent(part)
        for day in (None, *days):
            area, precision = truth([part], day)
            found = sums.summary(day)
            good = found.positives
            assert found.auroc == pytest.approx(area, abs=1e-9)
            assert found.auprc == pytest.approx(precision, abs=0.05 / good + 1e-9)
            assert order_blur([sums], day) == pytest.approx((0.0, 0.05 / good))


@pytest.mark.parametrize("kind", ["smooth", "tied", "sure", "narrow"])
def test_what_clinics_together_can_be_off_is_bounded(kind: str) -> None:
    """Random clinics of 10 to 100 embryos, some of one day and some of two, some of an older version that tells no order."""
    off = []
    for seed in range(60):
        rng = np.random.default_rng([seed, len(kind)])
        parts = [
            draw(rng, int(rng.integers(40, 101)), kind, (3, 5))
            if rng.random() < 0.4
            else draw(rng, int(rng.integers(14, 101)), kind)
            for _ in range(3)
        ]
        sums = [sent(part) if rng.random() < 0.8 else older(sent(part)) for part in parts]
        for day in (None, 5):
            area, precision = truth(parts, day)
            found, blur = merge(sums).summary(day), order_blur(sums, day)
            assert found.auroc is not None and found.auprc is not None
            assert abs(found.auroc - area) <= blur[0] + 1e-9
            assert abs(found.auprc - precision) <= blur[1] + 1e-9
            assert 0 <= blur[0] < 1 and 0 <= blur[1] < 1
            off.append(abs(found.auroc - area) / max(blur[0], 1e-9))
    assert np.mean(off) > 0.005, "a bound that is met by doing nothing is none"


def test_how_far_three_clinics_together_are_off_as_a_rule() -> None:
    """The figures in docs/results.md."""
    for sizes, most in (((10, 101), 0.005), ((14, 15), 0.025), ((50, 51), 0.004), ((100, 101), 0.0015)):
        area, precision, before = [], [], []
        for seed in range(80):
            rng = np.random.default_rng([seed, sizes[0]])
            parts = [draw(rng, int(rng.integers(max(sizes[0], 12), sizes[1]))) for _ in range(3)]
            told = [sent(part) for part in parts]
            found, want = merge(told).summary(), truth(parts)
            area.append(abs((found.auroc or 0) - want[0]))
            precision.append(abs((found.auprc or 0) - want[1]))
            before.append(abs((merge(map(older, told)).summary().auroc or 0) - want[0]))
        print(
            f"{sizes}: AUROC {np.mean(area):.4f} ({max(area):.4f}), within 0.005 {np.mean(np.array(area) <= 0.005):.0%}, "
            f"without the order {np.mean(before):.4f}; AUPRC {np.mean(precision):.4f} ({max(precision):.4f})"
        )
        assert np.mean(area) < most and np.mean(area) < np.mean(before)


def older(sums: ScoreSums) -> ScoreSums:
    """As an older clinic sends it: without the sums over the order."""
    value = sums.to_dict()
    value.pop("order", None)
    for day in value["days"].values():
        day.pop("order", None)
    return ScoreSums.from_dict(value)


def test_an_older_clinics_figures_are_those_of_its_histogram() -> None:
    part = draw(np.random.default_rng(1), 60)
    sums = older(sent(part))
    area, _ = order_blur([sums])
    assert area > 0 and abs((sums.summary().auroc or 0) - truth([part])[0]) <= area


def test_of_one_day_all_days_are_that_day() -> None:
    told = sent(draw(np.random.default_rng(7), 40)).to_dict()
    del told["order"]
    sums = ScoreSums.from_dict(told)
    assert sums.summary() == sums.summary(5) and order_blur([sums]) == order_blur([sums], 5)


def test_a_day_that_is_withheld_is_in_no_sum() -> None:
    rng = np.random.default_rng(2)
    scores, labels, days = draw(rng, 40)
    few = rng.random(12), np.r_[np.ones(3, int), np.zeros(9, int)], np.full(12, 3)
    both = ScoreSums.from_scores(*(np.concatenate(pair) for pair in zip((scores, labels, days), few, strict=True)))
    assert (
        both.suppress().to_dict()["order"] == ScoreSums.from_scores(scores, labels, days).suppress().to_dict()["order"]
    )
    assert both.suppress().summary().auroc == pytest.approx(truth([(scores, labels, days)])[0])


def test_no_order_is_told_of_fewer_embryos_than_the_least_count_whatever_a_policy_allows() -> None:
    labels = np.r_[np.ones(3, int), np.zeros(20, int)]
    told = (
        ScoreSums.from_scores(np.random.default_rng(3).random(23), labels, np.full(23, 5)).suppress(minimum=1).to_dict()
    )
    assert sum(told["days"]["5"]["histogram"][1]) == 3
    assert "order" not in told and "order" not in told["days"]["5"]


def test_what_leaves_holds_the_two_sums_and_no_score() -> None:
    scores, labels, days = draw(np.random.default_rng(4), 40)
    told = ScoreSums.from_scores(scores, labels, days).suppress().to_dict()
    assert set(told) == {"format", "bins", "days", "order"}
    for order in (told["order"], told["days"]["5"]["order"]):
        assert set(order) == {"half_pairs", "precisions"}
        assert type(order["half_pairs"]) is int and order["precisions"] == round(order["precisions"], 1)
    assert not any(repr(score) in json.dumps(told) for score in scores.tolist())
    assert "_scored" not in repr(ScoreSums.from_scores(scores, labels, days))  # nor does a log of the object


@pytest.mark.parametrize("where", [[], ["days", "5"]])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("half_pairs", -1),
        ("half_pairs", 0),
        ("half_pairs", 10**9),
        ("half_pairs", 1.0),
        ("half_pairs", True),
        ("half_pairs", None),
        ("precisions", float("nan")),
        ("precisions", float("inf")),
        ("precisions", -0.1),
        ("precisions", 0.0),
        ("precisions", 10**30),
        ("precisions", "1"),
        ("more", 1),
    ],
)
def test_sums_that_no_scores_have_are_refused(where: list[str], key: str, value: Any) -> None:
    told = ScoreSums.from_scores(*draw(np.random.default_rng(5), 60)).suppress().to_dict()
    ScoreSums.from_dict(told)
    bad = copy.deepcopy(told)
    at = bad
    for step in where:
        at = at[step]
    at["order"][key] = value
    with pytest.raises(ValueError, match="expected"):
        ScoreSums.from_dict(bad)


def test_the_order_of_two_days_cannot_be_told_beyond_what_their_bins_allow() -> None:
    """Day 3 wholly below day 5: nothing is unknown between them, so that one more pair is a lie."""
    rng = np.random.default_rng(6)
    low, high = rng.random(20) * 0.2, 0.8 + rng.random(20) * 0.2
    labels, days = np.tile([0, 1], 20), np.repeat([3, 5], 20)
    told = ScoreSums.from_scores(np.concatenate([low, high]), labels, days).suppress(group=1).to_dict()
    ScoreSums.from_dict(told)
    told["order"]["half_pairs"] += 2 * 20 * 20
    with pytest.raises(ValueError, match="half_pairs"):
        ScoreSums.from_dict(told)


@pytest.mark.parametrize("above", range(11))
def test_ties_of_the_scores_themselves_are_told_and_taken(above: int) -> None:
    scores = np.r_[np.full(above, 0.9), np.full(10 - above, 0.1), np.full(10, 0.5)]
    part = scores, np.repeat([1, 0], 10), np.full(20, 5)
    for sums in (sent(part), ScoreSums.from_dict(ScoreSums.from_scores(*part).to_dict())):
        found = sums.summary()
        area, precision = truth([part])
        assert found.auroc == pytest.approx(area) and found.auprc == pytest.approx(precision, abs=0.05 / 10 + 1e-9)


def test_nothing_is_told_of_no_embryos() -> None:
    assert "order" not in ScoreSums.from_scores([], [], []).to_dict()
    with pytest.raises(ValueError, match="expected"):
        ScoreSums.from_dict({"format": 1, "bins": 256, "days": {}, "order": {"half_pairs": 0, "precisions": 0.0}})
