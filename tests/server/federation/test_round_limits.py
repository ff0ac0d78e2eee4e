"""When a round ends."""

import pytest

from embryofl.settings import RunSettings
from embryofl_server.federation.masking.sums import PATIENCE_S, short_limits
from embryofl_server.federation.round_limits import (
    AUTO_LEAST_S,
    FIRST_DEADLINE_S,
    RoundLimits,
    deadline_seconds,
    quorum_of,
    round_limits,
)


@pytest.mark.parametrize(
    ("quorum", "min_clinics", "asked", "needed"),
    [
        (0, 3, 5, 3),
        (0, 3, 2, 2),
        (0.5, 2, 5, 3),
        (0.5, 2, 4, 2),
        (0.66, 1, 3, 2),
        (0.01, 1, 3, 1),
        (1, 2, 5, 1),
        (4, 2, 5, 4),
    ],
)
def test_quorum_follows_from_settings_and_number_of_clinics(quorum, min_clinics, asked, needed):
    assert quorum_of(RunSettings(quorum=quorum, min_clinics=min_clinics), asked) == needed


def test_quorum_is_at_least_the_minimum_of_the_strategy():
    limits = round_limits(RunSettings(quorum=2, grace_s=7), asked=6, min_updates=5, records=[])
    assert (limits.quorum, limits.deadline_s, limits.end_s) == (5, 3600, 3607)


def took(**clinics):
    return {
        "clinics": {
            n: {"seconds": {"download": 1, "evaluate": 1, "train": s - 3, "loading": 99, "upload": 1}}
            for n, s in clinics.items()
        }
    }


AUTO = RunSettings(round_deadline_s="auto")


def test_automatic_deadline_follows_the_clinics():
    assert deadline_seconds(AUTO, []) == deadline_seconds(AUTO, [{"round": 0}]) == FIRST_DEADLINE_S
    assert deadline_seconds(AUTO, [took(anna=100, bert=110, cleo=90)]) == 300
    assert deadline_seconds(AUTO, [took(anna=4, bert=5)]) == AUTO_LEAST_S


@pytest.mark.parametrize("odd", [1000, 10**9, 3])
def test_one_slow_or_lying_clinic_does_not_move_the_automatic_deadline(odd):
    assert 270 <= deadline_seconds(AUTO, [took(anna=100, bert=110, cleo=90, odd=odd)]) <= 330


def test_one_slow_round_does_not_move_the_automatic_deadline():
    records = [took(anna=100, bert=100, cleo=100)] * 3 + [took(anna=900, bert=900, cleo=900)]
    assert deadline_seconds(AUTO, records) == 300


def test_a_step_that_waits_less_long_shows_the_rounds_deadline():
    step = short_limits(RoundLimits(3, 3600, 600), 3)
    assert (step.deadline_s, step.end_s) == (PATIENCE_S, 4200)
    assert step.due_s == step.with_quorum(2).due_s == 3600
