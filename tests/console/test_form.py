"""The form of a new run and the run's settings."""

import html

import pytest

from embryofl.errors import UserError
from embryofl_console.form import PRESETS, collected, filled, usual
from embryofl_console.texts import texts
from embryofl_server.federation.choices import offers
from embryofl_server.federation.run_settings import check_settings
from kits.console_pages import EMPTY, show_runs


def test_form_becomes_run_settings():
    fields = {
        "model": "lite0",
        "strategy": "fedembryo",
        "model_before": "lite0",
        "rounds": "5",
        "local_epochs": "2",
        "seed": "7",
        "min_clinics": "0",
        "quorum": "0.5",
        "round_deadline_s": "0",
        "norm_clip": "5",
        "norm_bound": "50",
        "suspend_after": "3",
        "more": "schedule=constant\n\nlearning_rate = 0.001",
        "own-temperature": "2.5",
        "own-other": "",
    }
    assert collected(fields) == {
        "model": "lite0",
        "strategy": "fedembryo",
        "rounds": 5,
        "local_epochs": 2,
        "seed": 7,
        "quorum": 0.5,
        "round_deadline_s": "auto",
        "norm_clip": 5,
        "norm_bound": 50,
        "suspend_after": 3,
        "schedule": "constant",
        "learning_rate": 0.001,
        "temperature": 2.5,
    }
    fields |= {"min_clinics": "2", "round_deadline_s": "30"}
    assert collected(fields)["min_clinics"] == 2 and collected(fields)["round_deadline_s"] == 1800
    with pytest.raises(UserError, match="name=value"):
        collected(fields | {"more": "rounds"})


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_makes_settings_that_can_be_run(preset):
    assert set(PRESETS) == set(texts.preset)
    offered = offers()
    fields = {**usual(offered), **filled(PRESETS[preset], offered["defaults"])}
    settings = check_settings({**collected(fields), "min_clinics": 3})
    assert {key: getattr(settings, key) for key in PRESETS[preset]} == PRESETS[preset]
    assert bool(settings.masked_weights) == (preset != "robust") == (settings.seed > 0)  # with masks it is drawn
    assert texts.preset[preset][1] in html.unescape(show_runs(EMPTY, preset=preset))


def test_settings_of_a_run_fill_the_form_and_come_back():
    offered = offers()
    made = check_settings(
        {
            "strategy": "fedembryo",
            "temperature": 3.0,
            "rounds": 7,
            "seed": 5,
            "patience": 2,
            "min_clinics": 2,
            "clinics": "lyon,porto",
        }
    )
    settings = made.model_dump()
    fields = filled(settings, offered["defaults"])
    assert fields["rounds"] == "7" and "patience=2" in fields["more"] and fields["own-temperature"] == "3"
    assert fields["clinic-lyon"] == fields["clinic-porto"] == "on" and "clinics" not in fields["more"]
    assert check_settings(collected({**usual(offered), **fields})).model_dump() == settings
    assert "seed" not in filled({**settings, "masked_weights": "examples"}, offered["defaults"])


def test_clinics_of_a_run_are_ticked():
    states = {"lyon": "online", "porto": "offline", "oslo": "suspended"}
    page = show_runs({**EMPTY, "clinics": {name: {"state": state} for name, state in states.items()}})
    assert 'name="clinic-lyon"' in page and "clinic-oslo" not in page and "checked" not in page
    assert collected({"clinic-porto": "on", "clinic-lyon": "on", "more": ""})["clinics"] == ["porto", "lyon"]
    assert "clinics" not in collected({"more": ""})
