"""The page Clinics."""

from embryofl_console.pages import clinics
from embryofl_console.texts import texts
from kits.console_pages import EMPTY, show_clinics


def test_clinics_are_sorted_by_any_column_and_filtered_by_any_word():
    line = {"online": False, "does": "", "reason": "", "meaning": "quality", "version": "0.1.0", "last_seen": 5.0}
    oslo = {**line, "name": "oslo", "state": "revoked", "labelled": None, "patients": 9}
    porto = {
        **line,
        "name": "porto",
        "state": "enrolled",
        "labelled": 10,
        "patients": 30,
        "does": "online",
        "online": True,
    }
    lyon = {**line, "name": "lyon", "state": "suspended", "labelled": 200, "patients": 4, "reason": "its labels"}
    state = EMPTY | {"roster": [oslo, porto, lyon]}

    def order(sort, find=""):
        return [c["name"] for c in clinics.arranged(state, sort, find)["roster"]]

    assert order("") == ["lyon", "oslo", "porto"] == order("no such column")
    assert order("labelled") == ["porto", "lyon", "oslo"] and order("-labelled") == ["lyon", "porto", "oslo"]
    assert order("-last_seen")[0] == "porto"
    assert order("", "Revoked") == ["oslo"] and order("", "its labels") == ["lyon"] and order("", "x") == []
    page = show_clinics(state, sort="-patients", find="o")
    assert page.count('aria-sort="descending"') == 1 and 'href="/clinics?sort=patients&amp;find=o"' in page
    assert texts.clinics.none_match.format(words="nobody").replace('"', "&#34;") in show_clinics(state, find="nobody")
