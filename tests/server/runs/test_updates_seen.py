"""One sentence says what the hub sees of updates, and why."""

import pytest

from embryofl_server.federation.run_settings import check_settings
from embryofl_server.runs.updates_seen import updates_seen


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"secure_aggregation": "auto", "min_clinics": 3}, "The hub sees only sums of at least 3 clinics' updates."),
        ({"min_clinics": 9}, "The hub sees only sums of groups of three or four clinics' updates."),
        ({"min_clinics": 9, "groups": "off"}, "The hub sees only sums of at least 3 clinics' updates."),
        ({"min_clinics": 9, "strategy": "trimmed_mean"}, "only sums of groups of three or four clinics' updates."),
        ({"min_clinics": 16, "strategy": "krum"}, "visible to the hub: strategy krum needs each clinic's update"),
        ({"min_clinics": 17, "strategy": "krum"}, "only sums of groups of three or four clinics' updates."),
        ({"update_noise": 0.2, "min_clinics": 3}, "updates and noise of 0.2 times their bound."),
        ({"secure_aggregation": "off", "min_clinics": 3}, "visible to the hub: secure_aggregation is off."),
        (
            {"secure_aggregation": "auto", "min_clinics": 2},
            "visible to the hub: masks need 3 to 50 clinics, min_clinics is 2.",
        ),
        (
            {"secure_aggregation": "auto", "min_clinics": 4, "strategy": "median"},
            "visible to the hub: strategy median needs",
        ),
        (
            {"secure_aggregation": "auto", "min_clinics": 4, "strategy": "fedbn", "model": "small_cnn"},
            "visible to the hub: with strategy fedbn they depend on what each clinic has kept",
        ),
    ],
)
def test_sentence_names_what_is_seen_and_why(settings, words):
    assert words in updates_seen(check_settings(settings).model_dump())


def test_a_run_with_dp_epsilon_says_what_is_promised_what_is_spent_and_what_is_not_counted():
    settings = check_settings({"dp_epsilon": 8, "min_clinics": 3, "rounds": 4}).model_dump()
    seen = updates_seen(settings, 2)
    assert seen.startswith("The hub sees only sums") and "any one patient" in seen
    assert "(8, 1e-05)-differential privacy of all 4 rounds for each training patient" in seen
    assert "Not counted: metrics, threshold and calibration" in seen and "one clinic that helps" in seen
    assert seen.endswith("Spent after 2 of 4 rounds: epsilon 5.3.")
    assert "each clinic adds all of the noise" in updates_seen({**settings, "masked_weights": ""})
    assert "Spent" not in updates_seen(settings, 4) and "epsilon" not in updates_seen({**settings, "dp_epsilon": 0})
