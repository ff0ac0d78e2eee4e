"""The texts that pages show."""

from pathlib import Path

import pytest

from embryofl import result_charts
from embryofl.texts import Texts, duration, load_texts, size
from kits.texts import check_texts


def test_texts_are_attributes_and_a_missing_one_names_those_that_exist():
    texts = Texts(home=Texts(title="Overview"), research="Research use only")
    assert texts.home.title == texts["home"]["title"] == "Overview"
    with pytest.raises(AttributeError, match="no text 'titel'. Expected one of: title"):
        _ = texts.home.titel


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (999, "999 B"), (1e3, "1 kB"), (13.24e6, "13.2 MB"), (2.5e9, "2.5 GB"), (4e12, "4000 GB")],
)
def test_a_size_has_three_digits(count, shown):
    assert size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1, "0.0 s"), (2.46, "2.5 s"), (90.4, "90 s"), (300, "5 min"), (9000, "2.5 h")]
)
def test_a_duration_is_in_a_readable_unit(seconds, shown):
    assert duration(seconds) == shown


def test_every_shared_text_of_charts_is_used_and_every_used_text_exists():
    check_texts(load_texts("embryofl"), [Path(result_charts.__file__)])
