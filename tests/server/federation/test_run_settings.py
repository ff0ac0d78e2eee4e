"""Run settings as typed on the command line."""

import pytest

from embryofl.errors import UserError
from embryofl_server.federation.run_settings import check_settings, parse_settings
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


MASKED = ["fedavg", "fedprox", "fednova", "fedavgm", "fedadam", "fedyogi", "fedadagrad", "ditto", "finetuned_heads"]


@pytest.mark.parametrize("name", strategy_names())
def test_auto_masks_updates_exactly_where_the_strategy_needs_their_mean_alone(name):
    settings = check_settings({"strategy": name, "min_clinics": 5, "secure_aggregation": "auto", "model": "small_cnn"})
    assert bool(settings.masked_weights) == (name in MASKED)


def test_fednova_is_weighted_by_embryos_per_step_under_masks():
    assert check_settings({"min_clinics": 3, "secure_aggregation": "auto"}).masked_weights == "examples_per_step"


@pytest.mark.parametrize("values", [{"min_clinics": 2, "secure_aggregation": "auto"}, {"min_clinics": 3}])
def test_updates_are_not_masked_with_two_clinics_nor_when_off(values):
    assert check_settings({"secure_aggregation": "off"} | values).masked_weights == ""


def test_seed_of_a_run_with_masks_is_drawn_unless_it_is_given():
    """Two runs that begin from the same model would have sums that differ by a clinic that has left meanwhile."""
    values = {"min_clinics": 3, "secure_aggregation": "auto"}
    assert check_settings(values).seed != check_settings(values).seed
    assert check_settings(values | {"seed": 0}).seed == 0 == check_settings({}).seed


def test_clipped_fedavg_is_masked_only_with_a_bound_of_its_own():
    values = {"strategy": "clipped_fedavg", "min_clinics": 3, "secure_aggregation": "auto"}
    assert check_settings(values).masked_weights == ""
    assert check_settings(values | {"max_norm": 1.0}).masked_weights == "examples"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"min_clinics": 2}, "masks need 3 to 50 clinics, min_clinics is 2"),
        ({"min_clinics": 51}, "min_clinics is 51"),
        ({"min_clinics": 5, "strategy": "krum"}, "strategy krum needs each clinic's update"),
        ({"min_clinics": 5, "strategy": "fedbn", "model": "small_cnn"}, "what each clinic has kept of earlier rounds"),
    ],
)
def test_required_masks_that_are_not_possible_are_rejected_with_the_reason(values, reason):
    with pytest.raises(UserError, match=reason) as caught:
        check_settings({"secure_aggregation": "required"} | values)
    assert "fednova" in str(caught.value) and "fedbn," not in str(caught.value)


def test_pooled_metrics_on_the_way_that_nothing_asks_for_are_rejected():
    with pytest.raises(UserError, match="pooled_every=5 asks for nothing before the end of 5 rounds"):
        check_settings({"rounds": 5, "pooled_every": 5})
    settings = check_settings({"rounds": 15, "pooled_every": 5})
    assert [*settings.pooled_rounds] == [5, 10] and settings.evaluations_from(6) == 2
    assert not check_settings({"rounds": 1}).pooled_rounds


@pytest.mark.parametrize("values", [{"min_clinics": 2}, {"min_clinics": 3, "secure_aggregation": "off"}])
def test_noise_without_masks_is_rejected(values):
    with pytest.raises(UserError, match="update_noise=0.1 is not possible"):
        check_settings({"update_noise": 0.1} | values)
    assert check_settings({"update_noise": 0.1, "min_clinics": 3}).update_noise == 0.1


def test_weights_under_masks_cannot_be_chosen_but_those_that_follow_may_be_given():
    with pytest.raises(UserError, match="masked_weights follows from secure_aggregation"):
        check_settings({"min_clinics": 3, "masked_weights": "examples"})
    values = {"min_clinics": 3, "secure_aggregation": "auto", "masked_weights": "examples_per_step"}
    assert check_settings(values).masked_weights == "examples_per_step"
