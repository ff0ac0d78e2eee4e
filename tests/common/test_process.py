import pytest

from embryofl.errors import UserError
from embryofl.process import read_settings
from embryofl_server.settings import HubSettings


def test_misspelt_variable_is_refused_with_the_nearest_name(monkeypatch):
    monkeypatch.setenv("EMBRYOFL_APROVAL", "manual")
    with pytest.raises(UserError, match="no variable EMBRYOFL_APROVAL; did you mean EMBRYOFL_APPROVAL\\?"):
        read_settings(HubSettings, {})


def test_variables_of_other_programs_are_accepted(monkeypatch):
    monkeypatch.setenv("EMBRYOFL_CONSOLE_PORT", "7861")
    assert read_settings(HubSettings, {}).approval == "auto"


def test_unusable_value_is_named_in_our_own_words(monkeypatch):
    monkeypatch.setenv("EMBRYOFL_APPROVAL", "never")
    with pytest.raises(UserError, match="approval must be 'auto' or 'manual', not 'never'"):
        read_settings(HubSettings, {})
