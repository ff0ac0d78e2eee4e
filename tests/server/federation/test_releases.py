"""Runs of clinics that release no metrics, or not of every round: what works says whose metrics they are, the rest is refused."""

import io
import json
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from rich.console import Console

from embryofl.errors import UserError
from embryofl.membership import METRICS
from embryofl.settings import RunSettings
from embryofl_server.api.status import status
from embryofl_server.cli import show, show_results
from embryofl_server.federation.run_settings import check_releases, check_settings
from embryofl_server.runs.metrics_seen import describe_asking, metrics_seen
from embryofl_server.runs.view import RunView
from kits.enrolment import ask_status, audit, enrolment, join
from kits.rounds import NAMES

MIXED = {"anna": "own", "bert": "own", "cleo": "none"}


def finished(stage, releases, **settings):
    """A run of clinics with these policies, at its end."""
    staged = stage(rounds=2, **settings)
    staged.fleet.right = {0: 5, 1: 8, 2: 9}
    staged.fleet.quiet = {name for name, released in releases.items() if released != "own"}
    for name, released in releases.items():
        staged.store.set_choices(name, {METRICS: released})
    staged.go()
    return staged


def text_of(rendered) -> str:
    console = Console(file=io.StringIO(), width=300)
    console.print(rendered)
    return console.file.getvalue()


@pytest.mark.report
def test_pooled_metrics_say_of_how_many_clinics_they_are(stage):
    run = finished(stage, MIXED).run
    lines = RunView(run).lines()
    assert {x["clinic"] for x in lines if x["split"] == "test"} == {"anna", "bert", "pooled"}
    silent = [x for x in lines if x["clinic"] == "cleo"]
    assert [(x["split"], x["round"], x["loss"]) for x in silent] == [("train", 1, None), ("train", 2, None)]
    results = json.loads((run.folder / "results.json").read_text())
    assert results["releases"] == MIXED and results["splits"]["test"]["whose"] == "2 of 3 clinics"
    assert results["metrics_seen"] == metrics_seen(MIXED) and "none of cleo" in results["metrics_seen"]
    assert results["splits"]["test"]["pooled"]["all"]["n"] == 40 and results["calibration"]
    card = (run.folder / "model-card.md").read_text()
    assert "| 2 of 3 clinics | all |" in card and "none of cleo" in card and "all clinics | all" not in card
    assert "cleo | not reported | - | 20 | - (-) | - (-) |" in card
    assert "2 of 3 clinics" in text_of(show_results.results_text({**results, "held_back": []}))


@pytest.mark.report
def test_run_without_any_metrics_ends_with_a_model_and_says_why_it_has_no_results(stage):
    run = finished(stage, dict.fromkeys(NAMES, "none")).run
    results = json.loads((run.folder / "results.json").read_text())
    assert results["calibration"] is None and not results["splits"]["test"]["clinics"]
    assert [w["kind"] for w in results["warnings"]] == ["not_released"]
    assert "No clinic releases metrics on its own" in (run.folder / "model-card.html").read_text()
    assert results["incomplete"] == "" and RunView(run).curve() == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"strategy": "qfedavg"}, "strategy qfedavg cannot be used"),
        ({"strategy": "fedembryo"}, "strategy fedembryo cannot be used"),
        ({"choose": "best"}, "choose=best cannot be used"),
        ({"patience": 3}, "patience=3 cannot be used"),
    ],
)
def test_settings_that_need_metrics_of_every_round_are_refused_with_the_reason(settings, words):
    checked = check_settings({"min_clinics": 3, **settings})
    check_releases(checked, dict.fromkeys(NAMES, "own"))
    for released in ("pooled", "none"):
        with pytest.raises(UserError, match=words) as caught:
            check_releases(checked, {**MIXED, "cleo": released})
        assert f"cleo ({released})" in str(caught.value) and 'metrics = "own"' in str(caught.value)


def test_other_runs_are_not_refused():
    for settings in ({}, {"strategy": "scaffold"}, {"strategy": "finetuned_heads"}, {"strategy": "median"}):
        check_releases(check_settings({"min_clinics": 4, **settings}), dict.fromkeys(NAMES, "none"))


def test_pooled_metrics_on_the_way_of_fewer_than_three_clinics_are_refused_with_the_reason():
    settings = check_settings({"min_clinics": 3, "pooled_every": 5})
    check_releases(settings, dict.fromkeys(NAMES, "pooled"))
    with pytest.raises(UserError, match=r"pooled_every=5 cannot be used: .* these release pooled ones: anna, bert\."):
        check_releases(settings, {"anna": "pooled", "bert": "pooled", "cleo": "own"})


def test_what_pooled_metrics_on_the_way_cost_is_said_before_the_run():
    assert describe_asking(RunSettings()) == ""
    words = describe_asking(RunSettings(rounds=15, pooled_every=5))
    assert "3 times instead of once" in words and "label of a chosen image" in words and "max_evaluations" in words
    seen = metrics_seen(dict.fromkeys(NAMES, "pooled"), pooled_every=5)
    assert "after the last round, and every 5 rounds if max_evaluations" in seen


def test_hub_learns_the_policy_on_joining_and_with_every_status_request(hub):
    """A replayed step towards more does not undo a later one towards less, which always counts."""
    key = ec.generate_private_key(ec.SECP384R1())
    secret = hub.membership.invite("anna").secret
    with pytest.raises(ValueError, match="not one of own, pooled, none"):
        enrolment("anna", secret, key=key, summary={METRICS: "all"})
    hub.membership.enrol(enrolment("anna", secret, key=key, summary={METRICS: "pooled"}))

    def after(metrics: str, asked: float) -> str:
        hub.membership.status(ask_status(key, "anna", asked, metrics=metrics))
        return hub.store.clinics()["anna"].metrics

    now = time.time()
    assert hub.store.releases() == {"anna": "pooled"}
    assert after("own", 1.5) == "pooled" and after("own", now) == "own"
    assert after("none", 1.5) == "none" and after("pooled", now - 1000) == "none" and after("pooled", now) == "pooled"
    assert [e["metrics"] for e in audit(hub, "metrics_changed")] == ["own", "none", "pooled"]
    forged = ask_status(key, "anna", now, metrics="pooled").model_copy(update={"metrics": "own"})
    with pytest.raises(Exception, match="does not recognise"):
        hub.membership.status(forged)
    moment = hub.overview.now()
    info = status(hub, moment)
    assert info["metrics_seen"] == metrics_seen({"anna": "pooled"}) and info["clinics"]["anna"]["metrics"] == "pooled"
    assert "not released" in text_of(show.status({**info, "run": None}))


def test_run_that_needs_metrics_of_every_round_is_refused_when_it_is_queued(hub):
    join(hub, "anna", summary={METRICS: "none"})
    with pytest.raises(UserError, match=r"choose=best cannot be used: .* anna \(none\)"):
        hub.conductor.queue({"choose": "best"})
    assert hub.runs.all() == []
