"""The page Results."""

import re

from embryofl_console.pages import results
from embryofl_console.texts import texts
from embryofl_web.site import stylesheet
from kits.console_pages import Tags, show_results
from kits.run_reports import results_of, score_sums


def test_card_is_shown_in_a_frame_without_scripts_and_requests(sample):
    assert re.search(r'<iframe [^>]*sandbox=""', show_results(sample))
    policy = results.card_policy("<style>p{}</style><script>alert(1)</script>")
    assert policy.startswith("sandbox; default-src 'none'; style-src 'sha256-") and "script" not in policy
    assert "style-src 'none'" in results.card_policy("<p>")


def test_metrics_and_intervals_equal_those_in_results_json(sample):
    for split, clinic, day in (("test", "pooled", "all"), ("validation", "oslo", "5")):
        page = show_results(sample, split, clinic, day)
        of = sample["splits"][split]["pooled" if clinic == "pooled" else "clinics"]
        metrics = (of if clinic == "pooled" else of[clinic])[day]
        low, high = metrics["auroc"]["interval"]
        assert f'{metrics["auroc"]["value"]:.3f} <span class="interval">({low:.2f} to {high:.2f})' in page
        confusion = metrics["confusion"]
        assert f"<td>{confusion['true_positives']}</td><td>{confusion['false_negatives']}</td>" in page
        assert page.count("<figure") == 3 and page.count(texts.page.research) == 1 and not Tags(page).open
    assert [v for v, _ in results.clinics(sample)] == ["pooled", "oslo", "porto"]
    assert [v for v, _ in results.days(sample)] == ["all", "3", "5"]


def test_results_begin_with_the_auroc_in_a_sentence_and_compare_clinics_on_one_scale(sample):
    pooled = sample["splits"]["test"]["pooled"]["5"]
    page = show_results(sample, day="5")
    says = texts.results.says["test"].format(n=pooled["n"], day="day 5", of=round(100 * pooled["auroc"]["value"]))
    assert says in page and page.index(says) < page.index(texts.results.forest)
    forest = results.forest(sample["splits"]["test"])
    assert forest["days"] == ["All days", "Day 3", "Day 5"]
    assert [name for name, *_ in forest["rows"]][1:] == ["oslo", "porto"]
    assert forest["rows"][1][2][1]["auroc"] == sample["splits"]["test"]["clinics"]["oslo"]["3"]["auroc"]
    assert page.count('class="ref"') == 9 == page.count('class="range"') - 1
    warned = {**sample, "warnings": [{"kind": "chance", "level": "warn", "words": "It may be chance."}]}
    assert texts.todo.chance in show_results(warned)


def test_results_as_one_file_load_nothing_and_have_no_script(sample):
    page = show_results(sample, style=stylesheet(), entered=False)
    assert not Tags(page).open and "<form" not in page and "<iframe" not in page and "<script" not in page
    assert re.findall(r'(?:src|href)="(?!#|data:)([^"]*)"', page) == ["/"]
    assert ".forest" in page and page.count("<figure") == 3


def test_withheld_and_missing_metrics_are_named_and_not_drawn():
    few = results_of({"oslo": {"validation": score_sums(5), "test": score_sums(3, n=6)}})
    assert few["splits"]["test"]["clinics"]["oslo"]["3"]["withheld"]
    page = show_results(few, "test", "oslo", "3")
    assert texts.results.withheld in page and texts.results.too_few in page and "<figure" not in page
    nothing = results_of({})
    for split in ("test", "validation"):
        assert texts.results.nothing in show_results(nothing, split)
    assert texts.results.nothing in show_results(few, "test", "gone")
    assert not Tags(show_results(nothing)).open


def test_external_validation_is_compared_and_can_be_asked_of_clinics_without_a_part_in_the_run(sample):
    page = show_results(sample, others=["ghent"])
    assert texts.external.none in page and 'name="clinic-ghent"' in page and 'action="/results/validate"' in page
    auroc = {"value": 0.75, "interval": [0.7, 0.8]}
    told = {
        "date": "2026-01-31",
        "clinics": ["ghent"],
        "own": [],
        "together": [],
        "why": {"ghent": "<b>"},
        "incomplete": "",
    }
    rows = [{"metric": "auroc", "internal": auroc, "external": auroc, "difference": None}]
    found = {**sample, "external": {"compared": rows, "validations": [told], "origin": ""}}
    page = show_results(found)
    assert "0.750" in page and "ghent did not answer: &lt;b&gt;" in page and "/results/validate" not in page
    state = {"clinics": {n: {"state": "online"} for n in ("ghent", "oslo", "turin")} | {"bern": {"state": "suspended"}}}
    assert results.others({**found, "releases": {"oslo": "own"}}, state) == ["ghent", "turin"]
    found["external"]["validations"][0]["own"] = ["ghent"]
    assert results.others({**found, "releases": {"oslo": "own"}}, state) == ["turin"]
