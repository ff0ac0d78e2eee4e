"""The report of a run: methods in sentences, flow of embryos, references."""

import re

import pytest

from embryofl.settings import PRIVATE
from embryofl_server.federation.strategies import strategy_names
from embryofl_server.report import methods
from embryofl_server.report.methods import REFERENCES, flow, report
from kits.run_reports import evaluation, maker, read, score_sums

pytestmark = pytest.mark.report


@pytest.fixture
def finished(tmp_path, packed):
    """Card and results of a finished run."""
    make = maker(tmp_path, packed)

    def finished(**settings):
        run = make(evaluation(anna=score_sums(5), bert=score_sums(3, 5)), **settings)
        return [read(run, f"{name}.json") for name in ("model-card", "results")]

    return finished


def test_every_strategy_and_every_reference_is_known():
    strategies = methods._TEXTS["strategies"]
    assert sorted(strategies) == sorted(strategy_names())
    lists = [one["cites"] for one in strategies.values()]
    cited = {key for keys in (*lists, *methods._CITES.values(), *methods._TEXTS["models"].values()) for key in keys}
    assert cited == set(REFERENCES)
    for entry in REFERENCES.values():
        assert re.search(r"author=.+title=.+year=\{\d{4}\}", entry) and entry.count("{") == entry.count("}")


def test_methods_follow_from_the_settings(finished):
    plain, cited = methods.methods(*finished(strategy="fedprox"))
    text = " ".join(plain)
    assert "2 clinics trained one model" in text and "2 rounds" in text and "(FedProx) [3]" in text
    assert "masked" not in text and "epsilon" not in text
    assert cited[2] == "li2020federated" and len(set(cited)) == len(cited)
    private, _ = methods.methods(*finished(masked_weights="examples", dp_epsilon=8, audit_canaries=50, **PRIVATE))
    assert "50 drawn embryos with random labels" in " ".join(private)
    assert "the hub learned their sum alone" in " ".join(private) and "epsilon = 8 and delta = 1e-05" in " ".join(
        private
    )


def test_numbers_in_the_text_are_those_of_the_references(finished):
    card, results = finished()
    sentences, cited = methods.methods(card, results)
    named = {int(n) for found in re.findall(r"\[([\d, ]+)\]", " ".join(sentences)) for n in found.split(", ")}
    assert named == set(range(1, len(cited) + 1))


def test_flow_adds_up_and_small_counts_make_a_lower_bound(finished):
    card, results = finished()
    card["data"]["clinics"][0]["patients"], card["data"]["clinics"][1]["patients"] = "12", "<5"
    rows = dict(flow(card, results))
    assert rows["patients with images, as reported on joining"] == "at least 12"
    test = results["splits"]["test"]["pooled"]["all"]
    assert rows["test embryos (label 1)"] == f"{test['n']} ({test['positives']})"


def test_report_has_methods_and_references_and_the_card_has_not(finished):
    card, results = finished()
    page, plain = report(card, results), methods.html(card, results)
    assert "<h2>Methods</h2>" in page and "mcmahan2017communication" in page and "Research use only" in page
    assert "<h2>Methods</h2>" not in plain and "mcmahan2017communication" not in plain
