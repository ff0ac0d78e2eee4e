"""Ranking within cohorts: the metrics of the literature, released as sums that reveal no single cohort."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from embryofl.metrics import RankingSums, ScoreSums, merge
from embryofl.metrics.ranking import rank_cohorts


def draw(seed: int, patients: int = 30, ties: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, labels and patients."""
    rng = np.random.default_rng(seed)
    cohorts = np.repeat(np.arange(patients), rng.integers(1, 9, patients))
    labels = rng.integers(0, 2, len(cohorts))
    scores = np.clip(rng.normal(0.4 + 0.15 * labels, 0.2), 0, 1)
    return (np.round(scores, 1) if ties else scores), labels, cohorts


def tau_b(x: np.ndarray, y: np.ndarray) -> float:
    """Kendall's tau-b by its definition, pair by pair."""
    i, j = np.triu_indices(len(x), 1)
    a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
    below = np.sqrt((a != 0).sum() * (b != 0).sum())
    return float((a * b).sum() / below) if below else 0.0


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_sums_equal_those_of_reference_implementations(seed: int, ties: bool) -> None:
    scores, labels, cohorts = draw(seed, ties=ties)
    sums = rank_cohorts(scores, labels, cohorts)
    mixed = [c for c in range(30) if 0 < labels[cohorts == c].sum() < (cohorts == c).sum()]
    here = [(scores[cohorts == c], labels[cohorts == c]) for c in mixed]
    assert sums.cohorts == len(mixed) and sums.embryos == sum(len(s) for s, _ in here)
    assert sums.ndcg == pytest.approx(sum(ndcg_score([y], [s]) for s, y in here))
    assert sums.tau == pytest.approx(sum(tau_b(s, y) for s, y in here))
    assert sums.top == pytest.approx(sum(y[s == s.max()].mean() for s, y in here))
    assert sums.chance == pytest.approx(sum(y.mean() for _, y in here))
    assert sums.critical == sum(s[y == 0].max() > s[y == 1].max() for s, y in here)


def test_a_cohort_is_a_patients_embryos_of_one_day() -> None:
    """A patient's day-3 embryos are not ranked against her day-5 ones, and embryos without a patient are in no cohort."""
    sums = ScoreSums.from_scores(
        [0.9, 0.1, 0.2, 0.8, 0.5, 0.6], [1, 0, 1, 0, 1, 0], [5, 5, 3, 3, 5, 5], [7, 7, 7, 7, -1, -1]
    )
    assert (sums.days[5].ranking.cohorts, sums.days[5].ranking.top, sums.days[5].ranking.critical) == (1, 1, 0)
    assert (sums.days[3].ranking.cohorts, sums.days[3].ranking.top, sums.days[3].ranking.critical) == (1, 0, 1)
    assert sums.pooled().ranking.cohorts == 2 and sums.pooled().ranking.tau == 0


def big(seed: int, patients: int) -> ScoreSums:
    scores, labels, cohorts = draw(seed, patients)
    return ScoreSums.from_scores(scores, labels, np.full(len(scores), 5), cohorts)


def test_fewer_than_five_cohorts_are_withheld() -> None:
    few = ScoreSums.from_scores([0.9, 0.1] * 5, [1, 0] * 5, [5] * 10, np.repeat([0, 1, 2, 3, -1], 2))
    released = few.suppress(5).days[5]
    assert released.counts.tolist() == [5, 5] and released.ranking == RankingSums(withheld=1)
    assert few.suppress(4).days[5].ranking.cohorts == 4
    # The cohorts of a withheld day are withheld, too.
    small = ScoreSums.from_scores([0.9, 0.1, 0.2] * 4, [1, 0, 0] * 4, [3] * 12, np.repeat(range(4), 3))
    assert small.suppress(5).days[3].ranking == RankingSums(withheld=1)
    # Clinics without patients withhold nothing.
    assert ScoreSums.from_scores([0.9, 0.1] * 5, [1, 0] * 5, [5] * 10).suppress().days[5].ranking == RankingSums()
    assert merge([few.suppress(), big(1, 40).suppress()]).days[5].ranking.withheld == 1


def test_released_sums_are_rounded_so_that_they_reveal_no_cohort() -> None:
    exact, released = big(2, 40).days[5].ranking, big(2, 40).suppress().days[5].ranking
    assert released.cohorts == exact.cohorts
    assert all(round(x, 2) == x for x in asdict(released).values())
    assert released.ndcg / released.cohorts == pytest.approx(exact.ndcg / exact.cohorts, abs=0.001)


def test_ranking_sums_survive_json_and_are_required() -> None:
    value = big(3, 20).suppress().to_dict()
    read = ScoreSums.from_dict(json.loads(json.dumps(value)))
    assert read.days[5].ranking.cohorts >= 5
    del value["days"]["5"]["ranking"]
    with pytest.raises(ValueError, match="expected"):
        ScoreSums.from_dict(value)


@pytest.mark.parametrize(
    "change",
    [
        {"cohorts": 10**6},
        {"cohorts": -1},
        {"cohorts": True},
        {"cohorts": 2.0},
        {"embryos": 10**6},
        {"embryos": 3},
        {"top": -0.1},
        {"top": 1e6},
        {"top": float("nan")},
        {"chance": float("inf")},
        {"ndcg": "1"},
        {"ndcg_squared": -1},
        {"tau": -1e3},
        {"tau_squared": 1e3},
        {"critical": 0.5},
        {"critical": 10**6},
        {"withheld": -1},
        {"names": ["a"]},
        {"cohorts": 0},
        {"tau": None},
    ],
)
def test_sums_impossible_for_the_number_of_cohorts_are_rejected(change: dict[str, Any]) -> None:
    value = big(4, 40).to_dict()
    ScoreSums.from_dict(value)
    value["days"]["5"]["ranking"] |= change
    with pytest.raises(ValueError, match="expected"):
        ScoreSums.from_dict(value)
