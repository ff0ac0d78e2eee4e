"""The texts that pages show."""

import pytest

from embryofl.texts import Texts, size


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
