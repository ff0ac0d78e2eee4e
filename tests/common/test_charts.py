"""Line charts as SVG, for the console and the model card."""

import re

import pytest

from embryofl.charts import Axis, Series, chart, fitted
from embryofl.result_charts import by_round


def test_lines_of_a_chart_differ_by_more_than_colour_and_have_a_description():
    lines = [Series(f"run {n}", [(0, 0.5), (1, 0.7)]) for n in range(7)]
    page = chart("AUROC", "run 1: 0.7", Axis("Round"), Axis("AUROC"), lines)
    drawn = re.findall(r'<polyline [^>]*stroke="([^"]+)"[^>]*?(?:stroke-dasharray="([^"]+)")?/>', page)
    assert len({colour for colour, _ in drawn}) == len({pattern for _, pattern in drawn}) == 7
    assert "<title>AUROC</title><desc>run 1: 0.7</desc>" in page and 'role="img"' in page


@pytest.mark.parametrize(
    ("values", "most", "marks"),
    [
        ([0.447, 0.81], 1.0, [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        ([0.53, 0.81], None, [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85]),
        ([0.7, 0.7], None, [0.2, 0.4, 0.6, 0.8, 1.0, 1.2]),
        ([3.0, 4100.0], None, [0, 1000, 2000, 3000, 4000, 5000]),
    ],
)
def test_axis_has_round_marks_around_its_values(values, most, marks):
    axis = fitted("Loss", values, high=most)
    assert list(axis.marks) == pytest.approx(marks) and (axis.low, axis.high) == pytest.approx((marks[0], marks[-1]))
    assert [float(f"{m:.{axis.digits}f}") for m in axis.marks] == pytest.approx(marks)


def test_course_of_one_line_is_described_by_its_newest_rounds_and_needs_two():
    assert by_round("auroc", {"All clinics": [(0, 0.5)]}) == "" == by_round("auroc", {})
    page = by_round("auroc", {"All clinics": [(number, 0.5 + number / 100) for number in range(8)]})
    assert "<desc>All clinics, round 3: 0.530, round 4: 0.540," in page and page.count("<circle") == 8
    two = by_round("loss", {"run-0001": [(0, 0.7), (1, 0.6)], "run-0002": [(0, 0.7)]})
    assert "<desc>run-0001, round 1: 0.600</desc>" in two and "run-0002" not in two and "<circle" not in two


def test_lines_are_named_at_their_ends_far_enough_apart_and_of_many_clinics_only_the_best_and_the_worst():
    courses = {"All clinics": [(0, 0.5), (9, 0.8)]}
    courses |= {f"clinic-{n}": [(0, 0.5), (9, 0.8 + (n - 3) / 1000)] for n in range(7)}
    few = by_round("auroc", dict(list(courses.items())[:5]), list(courses)[1:])
    heights = [float(y) for y in re.findall(r'y="([0-9.]+)" class="label', few)]
    assert len(heights) == 5 and all(b - a >= 15 for a, b in zip(heights, heights[1:], strict=False))
    many = by_round("auroc", courses, list(courses)[1:])
    named = re.findall(r'class="label(?: first)?">([^<]+)<', many)
    assert named == ["clinic-6", "All clinics", "clinic-0"] and many.count("<polyline") == 8
    assert "<ul" not in many and "clinic-3" not in many
    assert (
        "<desc>All clinics, round 0: 0.500, round 9: 0.800; clinic-0, round 9: 0.797; clinic-6, round 9: 0.803" in many
    )


def test_uncertainty_of_a_course_is_drawn_as_a_band_and_named():
    page = by_round("auroc", {"All clinics": [(5, 0.7, 0.1), (10, 0.95, 0.1)]})
    (band,) = re.findall(r'<polygon points="([^"]+)"', page)
    x, low, _, high = [float(n) for pair in (band.split()[0], band.split()[-1]) for n in pair.split(",")]
    line = float(re.findall(r'<polyline points="[^,]+,([0-9.]+)', page)[0])
    assert x > 0 and low > line > high and low - line == pytest.approx(line - high, abs=0.2)
    assert "Shaded: 95 % interval." in page and ">1.0<" in page
    assert "<polygon" not in by_round("auroc", {"All clinics": [(5, 0.7, 0.0), (10, 0.8, 0.0)]})
