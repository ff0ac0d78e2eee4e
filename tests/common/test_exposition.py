"""Metrics as both exporters declare them."""

import pytest
from prometheus_client.exposition import generate_latest

from embryofl.exposition import Families


def text(out):
    return generate_latest(out).decode()


def test_a_metric_is_declared_with_kind_help_and_labels_where_its_value_is():
    out = Families(clinic="anna")
    out.counter("embryofl_x_total", "What x counts.", 3, result="done")
    out.gauges(("embryofl_y", "What y is.", True), ("embryofl_z", "Unknown.", None))
    assert text(out).splitlines() == [
        "# HELP embryofl_x_total What x counts.",
        "# TYPE embryofl_x_total counter",
        'embryofl_x_total{clinic="anna",result="done"} 3.0',
        "# HELP embryofl_y What y is.",
        "# TYPE embryofl_y gauge",
        'embryofl_y{clinic="anna"} 1.0',
    ]


def test_samples_of_one_metric_have_the_same_labels():
    out = Families()
    out.gauge("embryofl_x", "", 1, clinic="anna")
    with pytest.raises(ValueError, match="embryofl_x has the labels"):
        out.gauge("embryofl_x", "", 1, state="done")


def test_enumeration_has_a_sample_for_each_known_value():
    out = Families()
    out.one_of("embryofl_state", "", "state", ("on", "off"), "off")
    assert [line[-12:] for line in text(out).splitlines()[2:]] == ['te="on"} 0.0', 'e="off"} 1.0']


def test_histogram_buckets_are_cumulative():
    out = Families()
    out.histogram("embryofl_s", "", (1, 5), [2, 0, 1], 9.5)
    assert [line.split()[-1] for line in text(out).splitlines()[2:]] == ["2.0", "2.0", "3.0", "3.0", "9.5"]
