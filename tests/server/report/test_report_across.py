"""Other models in a report: personal models, runs with another seed, earlier runs."""

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from embryofl_server.cli import show, show_results
from embryofl_server.runs.log import Run
from kits.run_reports import clinic_sums, draw, evaluation, maker, read

pytestmark = pytest.mark.integration


@pytest.fixture
def make(tmp_path: Path, packed):
    return maker(tmp_path, packed)


def scored(number: int, **how: Any) -> dict[str, Any]:
    """Both clinics, with the same number of embryos of each label for every `number`."""
    return evaluation(anna=clinic_sums(alike(number, **how)), bert=clinic_sums(alike(number + 50, n=200, **how)))


def alike(number: int, n: int = 150, separation: float = 1.2) -> Any:
    """Scores of which a third have label 1."""
    scores, _, days, patients = draw(number, n, 0.0)
    labels = (np.arange(n) % 3 == 0).astype(int)
    log_odds = np.log(scores / (1 - scores)) + separation * (labels - 0.5)
    return 1 / (1 + np.exp(-log_odds)), labels, days, patients


def printed(results: dict[str, Any]) -> str:
    console = show.make_console()
    with console.capture() as captured:
        console.print(show_results.results_text(results))
    return captured.get()


def area(run: Run, who: str = "pooled") -> float:
    test = read(run, "results.json")["splits"]["test"]
    return (test["pooled"] if who == "pooled" else test["clinics"][who])["all"]["auroc"]["value"]


def test_runs_that_differ_only_in_the_seed_give_mean_and_spread(make):
    runs = [make(scored(seed), seed=seed) for seed in range(3)]
    newest = read(runs[-1], "results.json")["across_runs"]["seeds"]
    assert [r["seed"] for r in newest["runs"]] == [0, 1, 2] and {r["run"] for r in newest["runs"]} == {
        r.name for r in runs
    }
    for who in ("pooled", "anna", "bert"):
        areas = [area(run, who) for run in runs]
        spread = newest["figures"][who]["all"]["auroc"]
        assert spread["mean"] == pytest.approx(statistics.mean(areas), abs=1e-5)
        assert spread["sd"] == pytest.approx(statistics.stdev(areas), abs=1e-5)
        assert (spread["low"], spread["high"], spread["runs"]) == (min(areas), max(areas), 3)
    assert set(newest["figures"]["pooled"]["5"]) == {"auroc", "auprc", "brier", "ece", "sensitivity", "specificity"}
    assert read(runs[0], "results.json")["across_runs"]["seeds"] is None
    for text in (
        (runs[-1].folder / "model-card.md").read_text(),
        (runs[-1].folder / "model-card.html").read_text(),
        printed(read(runs[-1], "results.json")),
    ):
        assert "Spread over seeds" in text and "±" in text and runs[0].name in text


@pytest.mark.parametrize("change", ["setting", "clinics", "embryos", "stopped", "cut short", "same seed"])
def test_other_runs_do_not_count_in_the_spread(make, change):
    other = {
        "clinics": {"anna": {"validation": clinic_sums(draw(50)), "test": clinic_sums(alike(0))}},
        "embryos": evaluation(anna=clinic_sums(alike(0, n=90)), bert=clinic_sums(alike(50, n=200))),
    }.get(change, scored(0))
    settings = {"local_epochs": 2} if change == "setting" else {}
    first = make(
        other, seed=1 if change == "same seed" else 0, incomplete="cut" if change == "cut short" else "", **settings
    )
    if change == "stopped":
        first.set_state("stopped", 2)
    assert read(make(scored(1), seed=1), "results.json")["across_runs"]["seeds"] is None


def test_earlier_runs_are_listed_with_date_and_changed_settings(make):
    first = make(scored(0, separation=2.0), local_epochs=7)
    make(scored(1), meaning="implantation")  # another label, so not listed
    last = make(scored(2, separation=0.8))
    course = read(last, "results.json")["across_runs"]["over_time"]
    assert [one["run"] for one in course] == [first.name, last.name]
    assert course[0]["changed"] == {"local_epochs": 7} and course[1]["changed"] == {}
    assert course[0]["date"] == course[1]["date"] == "2023-11-14"  # when the last round began
    for run, one in zip((first, last), course, strict=True):
        assert one["figures"]["pooled"]["all"]["auroc"]["value"] == area(run)
        assert one["figures"]["anna"]["5"]["n"] == 150
    assert area(first) > area(last) + 0.05
    text = (last.folder / "model-card.md").read_text()
    assert "Over time" in text and "local\\_epochs: 7" in text and "Over time" in printed(read(last, "results.json"))
    assert "Over time" not in (first.folder / "model-card.md").read_text()


def test_later_run_changes_no_earlier_report(make):
    first_evaluation = scored(0)
    first = make(first_evaluation, seed=0)
    before = (first.folder / "results.json").read_bytes()
    make(scored(1), seed=1)
    make(first_evaluation, run=first)
    assert (first.folder / "results.json").read_bytes() == before


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"meaning": "quality", "incomplete": ""}'])
def test_unreadable_earlier_results_cost_only_their_line(make, content):
    first = make(scored(0), seed=0)
    (first.folder / "results.json").write_text(content)
    assert len(read(make(scored(1), seed=1), "results.json")["across_runs"]["over_time"]) == 1


def test_personal_models_are_reported_next_to_the_global_one(make):
    personal, shared = alike(3, separation=2.5), alike(3, separation=0.5)
    final_evaluation = evaluation(anna=clinic_sums(shared), bert=clinic_sums(alike(4)))
    final_evaluation["anna"]["personal"] = {"validation": clinic_sums(draw(60)), "test": clinic_sums(personal)}
    run = make(final_evaluation, personal="model", strategy="ditto")
    results = read(run, "results.json")
    test = results["personal"]["splits"]["test"]
    assert results["personal"]["kind"] == "model" and set(test["clinics"]) == {"anna"}
    auroc = test["clinics"]["anna"]["5"]["auroc"]["value"]
    assert auroc == pytest.approx(roc_auc_score(personal[1], personal[0]), abs=0.005)  # bins of three or more
    assert area(run, "anna") == pytest.approx(roc_auc_score(shared[1], shared[0]), abs=0.005)
    assert auroc > area(run, "anna")
    card = read(run, "model-card.json")["personal"]
    assert card["clinics"]["anna"]["5"]["auroc"]["value"] == auroc and "Ditto" in card["words"]
    for text in (
        (run.folder / "model-card.md").read_text(),
        (run.folder / "model-card.html").read_text(),
        printed(results),
    ):
        assert "ersonal models" in text and f"{auroc:.3f}" in text
    plain = make(evaluation(anna=clinic_sums(shared)))
    assert read(plain, "results.json")["personal"] is None
    assert "Personal models" not in (plain.folder / "model-card.html").read_text()
