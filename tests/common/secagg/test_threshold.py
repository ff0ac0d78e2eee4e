"""The threshold of an attempt: no two different statements are confirmed while at most a third of the clinics lie."""

import pytest

from embryofl.secagg.threshold import MAX_CLINICS, MIN_CLINICS, capped, threshold

SIZES = range(MIN_CLINICS, MAX_CLINICS + 1)


def test_two_statements_need_more_honest_clinics_than_there_are():
    assert [n for n in SIZES if 2 * (threshold(n) - n // 3) <= n - n // 3] == []


def test_there_are_always_three_survivors_and_from_four_clinics_on_one_may_drop_out():
    assert [n for n in SIZES if not MIN_CLINICS <= threshold(n) <= n - (n > 3)] == []


def test_thresholds_are_those_of_the_specification():
    assert [threshold(n) for n in (3, 4, 5, 6, 7, 9, 10, 50)] == [3, 3, 4, 5, 5, 7, 7, 34]


def test_heaviest_clinic_has_at_most_its_part_where_there_are_three():
    assert capped({"a": 1000, "b": 300, "c": 100}, 0.5) == {"a": 400, "b": 300, "c": 100}
    assert capped({"a": 1000, "b": 300, "c": 100}, 0.6) == {"a": pytest.approx(600), "b": 300, "c": 100}
    for weights in ({"a": 1000, "b": 1}, {"a": 1}, {}, {"a": 5, "b": 4, "c": 3}):
        assert capped(weights, 0.5) == weights
    assert capped({"a": 1000, "b": 300, "c": 100}, 1.0) == {"a": 1000, "b": 300, "c": 100}
