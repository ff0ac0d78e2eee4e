"""Settings of strategies: given like all others, checked when a run is queued."""

import pytest

from embryofl.errors import UserError
from embryofl.settings import RunSettings
from embryofl_server.federation.run_settings import check_settings
from embryofl_server.federation.strategies import strategy, strategy_names


def test_strategy_settings_do_not_share_names_with_run_settings():
    fields = [set(strategy(n).SETTINGS.model_fields) for n in strategy_names()]
    assert all(not names & set(RunSettings.model_fields) for names in fields)


def test_strategy_settings_are_given_like_all_others_and_kept_with_their_defaults():
    settings = check_settings({"strategy": "trimmed_mean", "trim": 0.3, "min_clinics": 3, "rounds": 4})
    assert settings.strategy_settings == {"trim": 0.3} and settings.rounds == 4
    again = check_settings(settings.model_dump())
    assert again == settings
    assert check_settings({"strategy": "krum", "min_clinics": 5}).strategy_settings == {"attackers": 1}
    assert check_settings({}).strategy_settings == {}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"strategy": "trimmed_mean", "trim": 0.5}, ["trim", "0.5", "default 0.2"]),
        ({"strategy": "trimmed_mean", "trim": "much"}, ["trim", "much"]),
        ({"strategy": "fedavg", "trim": 0.2}, ["trim", "trimmed_mean", "fedavg"]),
        ({"strategy": "krum", "strategy_settings": {"trim": 0.2}}, ["trim", "attackers"]),
        ({"strategy": "krum", "strategy_settings": 3}, ["strategy_settings"]),
        ({"strategy": "fedmagic"}, ["fedmagic", *strategy_names()]),
        ({"strategy": 7}, ["7", "fedavg"]),
        ({"norm_bound": 0.5}, ["norm_bound"]),
        ({"round_deadline_s": "soon"}, ["round_deadline_s"]),
        ({"round_deadline_s": 0}, ["round_deadline_s"]),
    ],
)
def test_invalid_settings_are_rejected_with_the_valid_ones(values, words):
    with pytest.raises(UserError) as caught:
        check_settings({"min_clinics": 9, **values})
    assert all(w in str(caught.value) for w in words), str(caught.value)


@pytest.mark.parametrize(
    ("values", "least"),
    [
        ({"strategy": "median"}, 3),
        ({"strategy": "trimmed_mean"}, 3),
        ({"strategy": "geometric_median"}, 3),
        ({"strategy": "krum"}, 5),
        ({"strategy": "krum", "attackers": 2}, 7),
        ({"strategy": "multi_krum"}, 5),
        ({"strategy": "multi_krum", "keep": 6}, 9),
        ({"strategy": "clipped_fedavg"}, 3),
        ({"strategy": "clipped_fedavg", "max_norm": 2.0}, 1),
        ({"strategy": "fedavg"}, 1),
    ],
)
def test_fewer_clinics_than_a_strategy_needs_are_rejected_with_the_minimum(values, least):
    assert check_settings({**values, "min_clinics": least}).min_clinics == least
    if least > 1:
        with pytest.raises(UserError, match=f"needs at least {least} clinics, min_clinics is {least - 1}"):
            check_settings({**values, "min_clinics": least - 1})
