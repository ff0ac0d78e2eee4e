"""A leave-one-clinic-out study: what each clinic adds to it, and all together by a meta-analysis."""

import re

import pytest

from embryofl_server.report.leave_one_out import combined, html, in_words, leave_one_out, random_effects

# Thirteen trials of BCG vaccine (Colditz and others, JAMA 271, 1994): log relative risks and their variances, as in `dat.bcg`
# of R's metafor, whose manual has the results of method "DL".
BCG = [
    -0.8893,
    -1.5854,
    -1.3481,
    -1.4416,
    -0.2175,
    -0.7861,
    -1.6209,
    0.0120,
    -0.4694,
    -1.3713,
    -0.3394,
    0.4459,
    -0.0173,
]
BCG_VARIANCES = [0.3256, 0.1946, 0.4154, 0.0200, 0.0512, 0.0069, 0.2230, 0.0040, 0.0564, 0.0730, 0.0124, 0.5325, 0.0714]


def auroc(value, margin=0.05):
    return {"value": value, "interval": [max(0.0, value - margin), min(1.0, value + margin)]}


def of_run(name, inside, outside, clinic, why=None):
    """What matters of `results.json`: of the run, and of its validation at the clinic."""
    metrics = {"n": 40, "positives": 20}
    clinics = {clinic: {"all": {**metrics, "auroc": outside}}} if outside else {}
    return {
        "run": name,
        "splits": {"test": {"pooled": {"all": {**metrics, "auroc": inside}}}},
        "external": {"clinics": clinics, "validations": [{"why": why or {}}]},
        "settings": {"rounds": 15, "clinics": ["a"]},
        "use": "Research use only.",
    }


@pytest.fixture
def study():
    outside = {"lisbon": auroc(0.8), "porto": auroc(0.7), "turin": auroc(0.9), "<b>": None}
    return leave_one_out(
        {
            name: of_run(f"run-000{n}", auroc(0.8), found, name, why={"<b>": "its policy declines"})
            for n, (name, found) in enumerate(outside.items(), 1)
        }
    )


def test_studies_combine_to_what_metafor_says():
    mean, error, between, i_squared = combined(BCG, BCG_VARIANCES)
    assert mean == pytest.approx(-0.7141, abs=2e-3) and between == pytest.approx(0.3088, abs=2e-3)
    assert i_squared == pytest.approx(0.9212, abs=1e-3) and error >= 0.1787 - 1e-3


def test_clinics_that_agree_have_no_variance_between_them_and_the_same_value():
    together = random_effects([auroc(0.8), auroc(0.8), auroc(0.8)])
    assert together["value"] == pytest.approx(0.8) and together["i_squared"] == 0 and together["clinics"] == 3
    assert together["interval"][0] < 0.8 < together["interval"][1] and together["prediction"][0] < 0.8


def test_clinics_that_differ_widen_interval_and_prediction():
    alike, apart = random_effects([auroc(0.8)] * 3), random_effects([auroc(0.6), auroc(0.8), auroc(0.95, 0.02)])
    assert apart["i_squared"] > 0.8
    for key in ("interval", "prediction"):
        assert apart[key][0] < alike[key][0]


def test_an_auroc_without_an_interval_or_at_its_end_does_not_count():
    nothing = {"value": 0.7, "interval": None}
    assert random_effects([auroc(0.8), nothing, None, auroc(1.0)]) is None
    assert random_effects([auroc(0.8), auroc(0.7), nothing])["clinics"] == 2


def test_a_clinic_that_declined_is_shown_with_its_reason_and_does_not_count(study):
    assert study["external"]["clinics"] == 3 and study["internal"] == pytest.approx(0.8)
    assert study["rows"][-1]["why"] == "its policy declines"
    words = " ".join(in_words(study))
    assert "3 together: AUROC 0.8" in words and "I-squared" in words and words.endswith("Research use only.")


def test_page_has_a_forest_plot_and_no_script_or_address(study):
    page = html(study)
    assert page.count('class="main"') == 7 and "<b>" not in page and "&lt;b&gt;" in page
    assert not re.search(r"<script|https?://|src=", page)
    assert "rounds: 15" in page and "clinics: " not in page
