"""Metrics as both exporters declare them."""

import pytest
from prometheus_client.exposition import generate_latest

from embryofl.exposition import Families


def text(out):
    return generate_latest(out).decode()


TABLE = {
    "embryofl_x_total": ["What x counts.", "clinic", "result"],
    "embryofl_y": ["What y is.", "clinic"],
    "embryofl_z": ["Unknown.", "clinic"],
    "embryofl_s": ["Seconds."],
    "embryofl_state": ["State.", "state"],
}


def test_sample_has_the_tables_help_text_and_labels_and_the_type_that_its_name_implies():
    out = Families(TABLE, "anna")
    out.add("embryofl_x_total", 3, "done")
    out.add_all({"embryofl_y": True, "embryofl_z": None})
    assert text(out).splitlines() == [
        "# HELP embryofl_x_total What x counts.",
        "# TYPE embryofl_x_total counter",
        'embryofl_x_total{clinic="anna",result="done"} 3.0',
        "# HELP embryofl_y What y is.",
        "# TYPE embryofl_y gauge",
        'embryofl_y{clinic="anna"} 1.0',
    ]


def test_metric_or_label_that_the_table_lacks_is_an_error_even_without_a_value():
    with pytest.raises(KeyError):
        Families(TABLE).add("embryofl_w", None)
    with pytest.raises(ValueError, match="embryofl_y has the labels"):
        Families(TABLE).add("embryofl_y", None)


def test_enumeration_has_a_sample_for_each_known_value():
    out = Families(TABLE)
    out.one_of("embryofl_state", ("on", "off"), "off")
    assert text(out).splitlines()[2:] == ['embryofl_state{state="on"} 0.0', 'embryofl_state{state="off"} 1.0']


def test_histogram_buckets_are_cumulative():
    out = Families(TABLE)
    out.histogram("embryofl_s", (1, 5), [2, 0, 1], 9.5)
    assert [line.split()[-1] for line in text(out).splitlines()[2:]] == ["2.0", "2.0", "3.0", "3.0", "9.5"]
