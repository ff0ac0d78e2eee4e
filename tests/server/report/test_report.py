"""The report of a finished run: correct results and warnings, safe pages, identical files when written again."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from embryofl.metrics.ranking import RankingSums
from embryofl.settings import RunSettings
from embryofl_server.cli import show, show_results
from embryofl_server.members.store import Clinic
from embryofl_server.report import write
from embryofl_server.report.card import TRIPOD
from embryofl_server.report.decision import learn_calibration
from embryofl_server.report.metrics import ranking
from embryofl_server.report.warnings import LEAK_AUROC
from embryofl_server.runs.evaluation import released_sums
from embryofl_server.runs.log import Run
from kits.run_reports import FILES, clinic_sums, draw, evaluation, maker, read


@pytest.fixture
def make(tmp_path: Path, packed):
    return maker(tmp_path, packed)


def kinds(run: Run) -> set[str]:
    return {w["kind"] for w in read(run, "results.json")["warnings"]}


def test_results_equal_those_of_the_pooled_scores(make):
    parts = {"anna": draw(1), "bert": draw(2, n=400)}
    results = read(make(evaluation(**{n: clinic_sums(p) for n, p in parts.items()})), "results.json")
    scores, labels = (np.concatenate([parts[n][i] for n in parts]) for i in (0, 1))
    pooled = results["splits"]["test"]["pooled"]
    assert set(pooled) == {"all", "5"} and set(results["splits"]["test"]["clinics"]) == {"anna", "bert"}
    f = pooled["all"]
    assert (f["n"], f["positives"]) == (550, labels.sum())
    assert f["auroc"]["value"] == pytest.approx(roc_auc_score(labels, scores), abs=0.005)
    threshold = results["calibration"]["threshold"]
    assert f["confusion"]["threshold"] == pytest.approx(threshold, abs=1e-6)
    assert f["confusion"]["sensitivity"]["value"] == pytest.approx((scores >= threshold)[labels == 1].mean(), abs=0.02)
    for key in ("auroc", "auprc"):
        low, high = f[key]["interval"]
        assert low < f[key]["value"] < high
    assert f["roc"][0][:2] == [0, 0] and f["roc"][-1][:2] == [1, 1]
    assert f["ranking"]["cohorts"] > 60 and f["ranking"]["top"]["value"] > f["ranking"]["chance"]
    assert sum(row["embryos"] for row in f["after"]["reliability"]) == 550
    assert [r["round"] for r in results["rounds"]] == [0, 1]
    assert results["rounds"][1]["training"]["anna"]["distance"] == 0.5


def test_threshold_and_calibration_ignore_test_patients(make):
    one = evaluation(anna=clinic_sums(draw(1)), bert=clinic_sums(draw(2)))
    other = evaluation(anna=clinic_sums(draw(3, separation=-2.0, good=0.8)), bert=clinic_sums(draw(4, n=20)))
    for settings in (RunSettings(), RunSettings(threshold_sensitivity=0.9)):
        learned = learn_calibration(released_sums({"evaluation": one, "pooled": {}}, "validation"), settings)
        assert learned is not None and learned == learn_calibration(
            released_sums({"evaluation": other, "pooled": {}}, "validation"), settings
        )
    results = [read(make(e), "results.json") for e in (one, other)]
    assert results[0]["threshold"] == results[1]["threshold"] and results[0]["rounds"] == results[1]["rounds"]
    assert results[0]["splits"]["test"] != results[1]["splits"]["test"]


def test_target_sensitivity_is_met_on_validation_patients(make):
    run = make(evaluation(anna=clinic_sums(draw(1)), bert=clinic_sums(draw(2))), threshold_sensitivity=0.95)
    results = read(run, "results.json")
    reached = results["splits"]["validation"]["pooled"]["all"]["confusion"]["sensitivity"]["value"]
    assert 0.95 <= reached < 1 and "0.95" in results["threshold"]["rule"]


def test_too_few_validation_embryos_give_a_warning_and_no_calibration(make):
    without_validation = {"anna": {"validation": None, "test": clinic_sums(draw(1))}}
    run = make(without_validation)
    assert read(run, "model.json")["calibration"] is None and "not_calibrated" in kinds(run)
    results = read(run, "results.json")
    assert results["threshold"]["value"] == 0.5 and results["splits"]["test"]["pooled"]["all"]["after"] is None


@pytest.mark.parametrize("meaning", ["quality", "implantation", "live_birth"])
def test_implausibly_good_outcome_model_is_reported_as_a_leak(make, meaning):
    good, fair = clinic_sums(draw(1, separation=2.5)), clinic_sums(draw(2, separation=0.5))
    run = make(evaluation(anna=good, bert=fair), meaning=meaning)
    assert ("leak" in kinds(run)) == (meaning != "quality")
    if meaning != "quality":
        first = read(run, "results.json")["warnings"][0]
        assert first["level"] == "stop" and str(LEAK_AUROC) in first["words"] and "anna" in first["words"]
        assert "bert" not in first["words"] and first["words"] in read(run, "model-card.json")["warnings"][0]["words"]
        assert "leak" not in kinds(make(evaluation(anna=fair, bert=fair), meaning=meaning))


def test_model_that_only_recognises_the_day_gives_a_warning(make):
    def by_day(seed: int) -> dict[str, Any]:
        three, five = draw(seed, 200, 0.0, good=0.15, day=3), draw(seed + 1, 200, 0.0, good=0.6, day=5)
        return clinic_sums((three[0] * 0.5, *three[1:]), (0.5 + five[0] * 0.5, *five[1:]))

    run = make(evaluation(anna=by_day(1), bert=by_day(3)))
    assert "shortcut_day" in kinds(run) and "shortcut_clinic" not in kinds(run)
    aucs = read(run, "results.json")["splits"]["test"]["shortcuts"]["day"]
    assert (
        aucs["all"] > 0.65
        and abs(aucs["within"] - 0.5) < 0.06
        and aucs["alone"] == pytest.approx(aucs["all"], abs=0.05)
    )
    honest = evaluation(anna=clinic_sums(draw(1), draw(2, day=3)), bert=clinic_sums(draw(3)))
    assert "shortcut_day" not in kinds(make(honest))


def test_model_that_only_recognises_the_clinic_gives_a_warning(make):
    low, high = draw(1, 200, 0.0, good=0.15), draw(2, 200, 0.0, good=0.7)
    run = make(
        evaluation(anna=clinic_sums((low[0] * 0.5, *low[1:])), bert=clinic_sums((0.5 + high[0] * 0.5, *high[1:])))
    )
    assert "shortcut_clinic" in kinds(run) and "shortcut_day" not in kinds(run)


def test_poor_calibration_on_test_patients_gives_a_warning(make):
    off = draw(1, 400)
    assert "calibration" in kinds(
        make(evaluation(anna=clinic_sums((off[0] ** 3, *off[1:])), bert=clinic_sums(draw(2))))
    )
    assert "calibration" not in kinds(make(evaluation(anna=clinic_sums(draw(5, 400)), bert=clinic_sums(draw(6, 400)))))


def test_few_embryos_and_withheld_days_give_warnings(make):
    run = make(evaluation(anna=clinic_sums(draw(1, 30)), bert=clinic_sums(draw(2, 40), draw(3, 12, good=0.2, day=3))))
    assert {"wide", "withheld"} <= kinds(run)
    assert not {"wide", "withheld", "chance"} & kinds(
        make(evaluation(anna=clinic_sums(draw(1, 400)), bert=clinic_sums(draw(2, 400))))
    )
    assert "chance" in kinds(
        make(evaluation(anna=clinic_sums(draw(1, 60, separation=0.0)), bert=clinic_sums(draw(2, 60, separation=0.0))))
    )


def test_card_of_an_incomplete_run_gives_the_reason(make):
    run = make(None, incomplete="The run was stopped. Stopped by the coordinator.")
    card = read(run, "model-card.json")
    assert not card["complete"] and card["warnings"][0] == {
        "kind": "incomplete",
        "level": "stop",
        "words": "The run was stopped. Stopped by the coordinator.",
    }
    for name in ("model-card.md", "model-card.html"):
        text = (run.folder / name).read_text()
        assert "Stopped by the coordinator" in text and "not evaluated on test patients" in text


def test_rewritten_report_is_identical(make):
    final_evaluation = evaluation(anna=clinic_sums(draw(1)), bert=clinic_sums(draw(2)))
    run = make(final_evaluation)
    before = {name: (run.folder / name).read_bytes() for name in FILES}
    make(None, run=run, incomplete="cut off")  # the state while the final evaluation is repeated
    assert (run.folder / "model-card.md").read_bytes() != before["model-card.md"]
    make(final_evaluation, run=run)
    assert {name: (run.folder / name).read_bytes() for name in FILES} == before


def test_defect_in_the_card_does_not_cost_the_model(make, monkeypatch):
    monkeypatch.setattr(write, "model_card", lambda *_: {}["missing"])
    run = make(evaluation(anna=clinic_sums(draw(1)), bert=clinic_sums(draw(2))))
    assert read(run, "model.json")["calibration"] and not (run.folder / "model-card.md").exists()
    assert "card_failed" in (run.folder / "events.jsonl").read_text()


HOSTILE = (
    "<script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>`|[x](javascript:alert(3))\n# \u202egnp"
)


def test_hostile_text_is_escaped_on_the_card(make):
    """A clinic may write anything into its summary, and reasons come from other people too."""
    counts = {
        HOSTILE: {"1": 7},
        "5": {"1": HOSTILE, "0": 10**400, "unlabelled": -3, HOSTILE: 5},
        "3": [HOSTILE],
        "4": {},
    }
    shown = {"shows_metrics": True}
    bad = Clinic(
        "anna", "key", "enrolled", 0.0, "quality", {"counts": counts, "patients": HOSTILE, "x": HOSTILE, **shown}
    )
    worse = Clinic("bert", "key", "enrolled", 0.0, "quality", {"counts": HOSTILE, **shown})
    run = make(
        evaluation(anna=clinic_sums(draw(1)), bert=clinic_sums(draw(2))),
        {"anna": bad, "bert": worse},
        incomplete=HOSTILE,
    )
    page, text = ((run.folder / name).read_text() for name in ("model-card.html", "model-card.md"))
    assert not re.search(r"<(script|img|iframe|link|object|embed|form|a)\b", page)
    assert not re.search(r"\b(src|href|on\w+)\s*=", re.sub(r"&[^;]*;|>[^<]*<", "><", page)) and "@import" not in page
    assert "\u202e" not in page + text and "default-src &#39;none&#39;" in page
    assert "evil.example" in page  # the reason is shown, as text
    assert not re.search(r"(?<!\\)[<`]", text.replace("<br>", "")) and "\n# \ufffdgnp" not in text
    card = read(run, "model-card.json")
    assert card["data"]["clinics"][0]["images"] == {
        "4": {"1": "-", "0": "-", "unlabelled": "-"},
        "5": {"1": "-", "0": str(10**400), "unlabelled": "-"},
    }


def test_html_card_is_self_contained(make):
    page = (
        make(evaluation(anna=clinic_sums(draw(1)), bert=clinic_sums(draw(2)))).folder / "model-card.html"
    ).read_text()
    assert not re.search(r"https?:|url\(|@import|<script|<link", page)
    assert page.count('<figure class="chart">') == 4 and "nan" not in page.lower().replace("finance", "")


def test_small_counts_are_withheld_whatever_a_clinic_sent(make):
    summary = {"counts": {"5": {"1": 3, "0": 0, "unlabelled": 5}}, "patients": 2, "shows_metrics": True}
    members = {n: Clinic(n, "key", "enrolled", 0.0, "quality", summary) for n in ("anna", "bert")}
    card = read(make(evaluation(anna=clinic_sums(draw(1))), members), "model-card.json")
    anna = card["data"]["clinics"][0]
    assert anna["images"]["5"] == {"1": "<5", "0": "0", "unlabelled": "5"} and anna["patients"] == "<5"


def test_card_lists_every_item_of_tripod_ai(make):
    items = [item["item"] for item in read(make(None), "model-card.json")["tripod_ai"]]
    parts = {
        3: "abc",
        5: "ab",
        6: "abc",
        8: "abc",
        9: "abc",
        12: "abcdefg",
        18: "abcdef",
        20: "abc",
        23: "ab",
        27: "abc",
    }
    assert items == [f"{n}{part}" for n in range(1, 28) for part in parts.get(n, [""])]  # as published, 52 of them
    assert {item["covered"] for item in TRIPOD} == {"card", "partly", "person"}
    assert all(item["where"] for item in TRIPOD)


def test_results_command_prints_all_sections(make, tmp_path):
    run = make(evaluation(anna=clinic_sums(draw(1)), bert=clinic_sums(draw(2), draw(3, 12, good=0.2, day=3))))
    console = show.make_console()
    with console.capture() as captured:
        console.print(show_results.results_text(show_results.read_results(tmp_path)))
    text = captured.get()
    for words in (run.name, "Youden", "withheld", "calibrated", "Net benefit", "critical error", "Research use only"):
        assert words in text
    with console.capture() as captured:
        console.print(show_results.results_text(read(make(None, incomplete="The run was stopped."), "results.json")))
    assert "Stop: The run was stopped." in captured.get()


def test_ranking_intervals_stay_within_their_range():
    few = RankingSums(
        cohorts=6, embryos=30, top=5, chance=2, ndcg=5.6, ndcg_squared=5.4, tau=5.5, tau_squared=5.3, critical=1
    )
    metrics = ranking(few)
    assert metrics["ndcg"]["interval"][1] == metrics["tau"]["interval"][1] == 1.0
