"""Run settings as typed on the command line."""

import pytest

from embryofl.errors import UserError
from embryofl_server.federation.run_settings import parse_settings
from embryofl_server.federation.strategies import strategy, strategy_names


def test_typed_settings_are_parsed():
    typed = ["rounds=15", "learning_rate=1e-3", "model=resnet18", " seed = 3", "pretrained=", "pretrained=a=b"]
    assert parse_settings(typed) == {
        "rounds": 15,
        "learning_rate": 0.001,
        "model": "resnet18",
        "seed": 3,
        "pretrained": "a=b",
    }
    assert parse_settings(["x=null", "y=[1]", 'z="a"', "w=true"]) == {"x": "null", "y": "[1]", "z": '"a"', "w": True}


@pytest.mark.parametrize("typed", ["rounds", "=3", " =3", ""])
def test_text_that_is_not_a_setting_is_rejected(typed):
    with pytest.raises(UserError, match="name=value"):
        parse_settings([typed])


def test_unknown_strategy_is_rejected_with_a_list_of_those_that_exist():
    for name in strategy_names():
        assert strategy(name).__module__.endswith(f".{name}")
    with pytest.raises(UserError) as caught:
        strategy("fedmagic")
    assert "fedmagic" in str(caught.value) and all(n in str(caught.value) for n in strategy_names())
