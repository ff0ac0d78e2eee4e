"""An audit of a finished run: counts of several clinics in one sum, why others are not in it, and what people are shown."""

import io
import json
import threading

import numpy as np
import pytest
from rich.console import Console

from embryofl.membership import METRICS
from embryofl.metrics import ScoreSums
from embryofl.pooled_metrics import AUDIT_GROUP
from embryofl.settings import PRIVATE
from embryofl_server.cli.show_results import audit_text, results_text
from embryofl_server.federation import privacy_audit
from embryofl_server.federation.masking import evaluation
from embryofl_server.report.audit import audit_of
from embryofl_server.runs.view import RunView
from kits.masked_rounds import masked_stages
from kits.policy import write_policy
from kits.rounds import events

pytestmark = [pytest.mark.integration, pytest.mark.report]

ALL = ["anna", "bert", "cleo", "dora"]


def text_of(rendered) -> str:
    console = Console(file=io.StringIO(), width=1000)
    console.print(rendered)
    return console.file.getvalue()


@pytest.fixture
def stage(tmp_path, packed, monkeypatch):
    """`stage(bert="none")`: a run of four clinics that is over. Which metrics they release, if not pooled ones; `settings` of
    the run."""
    monkeypatch.setattr(evaluation, "RETRY_S", 0.02)
    monkeypatch.setattr(privacy_audit, "JOIN_S", 0.2)
    monkeypatch.setattr(privacy_audit, "ANSWER_S", 20.0)
    with masked_stages(tmp_path, packed, monkeypatch) as ready:

        def make(settings=None, **releases):
            settings = settings or {"strategy": "median"}
            staged = ready(ALL, {"rounds": 1, "min_clinics": 3, "closing_evaluation": False, **settings}, "pooled")
            for name in ALL:
                released = releases.get(name, "pooled")
                staged.store.set_choices(name, {METRICS: released})
                write_policy(staged.fleet.state_dir(name), min_examples=1, metrics=released)
            staged.go()
            staged.run.set_state("finished", 1)
            return staged

        yield make


def audit(staged):
    asked = privacy_audit.PrivacyAudit(staged.context, staged.run, staged.checkpoints, threading.Event())
    found = asked.execute()
    return found, json.loads((staged.run.folder / "results.json").read_text())["audit"]


def test_hub_learns_the_sum_over_patients_and_shows_it_on_results_and_card(stage):
    staged = stage()
    before = events(staged.run)
    found, shown = audit(staged)
    assert found["clinics"] == ALL and not found["own"] and not found["declined"] and set(found["pooled"]) == {"loss"}
    sums = ScoreSums.from_dict(found["pooled"]["loss"]).days[0]
    assert [*sums.counts] == [4 * 50, 4 * 25] and sums.histogram.sum(axis=0)[
        sums.histogram.any(axis=0)
    ].min() >= AUDIT_GROUP
    attack = shown["attacks"]["loss"]
    assert (attack["members"], attack["others"]) == (100, 200) and attack["auroc"]["interval"]
    assert RunView(staged.run).audit() == found and events(staged.run) == before
    text = text_of(results_text(json.loads((staged.run.folder / "results.json").read_text())))
    for words in ("AUROC", "Stated: no epsilon", "25 training patients a clinic, fewer than 100, prove little"):
        assert words in text and words in (staged.run.folder / "model-card.md").read_text()
        assert words in (staged.run.folder / "model-card-public.html").read_text()
    assert not list(staged.run.folder.glob("*.masked"))


def test_clinics_that_decline_are_named_with_their_reason_and_the_others_are_counted(stage):
    staged = stage(bert="none", dora="own")
    found, shown = audit(staged)
    assert found["clinics"] == [] and list(found["own"]) == ["dora"]
    assert "releases no metrics" in shown["declined"]["bert"] and "only under masks" in shown["declined"]["anna"]
    assert shown["attacks"]["loss"]["members"] == 25 and "bert is not in it: " in text_of(audit_text(shown))
    public = json.loads((staged.run.folder / "results-public.json").read_text())
    assert public["audit"] is None  # counts of one clinic alone


def test_nobody_answers_and_people_see_why(stage):
    found, shown = audit(stage(**dict.fromkeys(ALL, "none")))
    assert not found["own"] and shown["attacks"] == {} and set(shown["declined"]) == {*ALL}
    assert "no clinic gave counts" in text_of(audit_text(shown))


def test_a_clinic_that_is_away_is_named_and_the_others_are_summed_guesses_of_canaries_included(stage):
    staged = stage({**PRIVATE, "dp_epsilon": 8, "audit_canaries": 50})
    staged.fleet.online.discard("bert")
    found, shown = audit(staged)
    assert found["clinics"] == ["anna", "cleo", "dora"] and shown["declined"] == {"bert": "it was not online"}
    guesses = shown["canaries"]
    assert guesses["canaries"] == 150 and guesses["right"] + guesses["wrong"] == 3 * 32
    assert shown["attacks"]["loss"]["members"] == 75  # no canary is one of them
    card = (staged.run.folder / "model-card.md").read_text()
    assert f"{guesses['right']} of 96 guesses are right" in card and "50 canaries, too" in card


def shown_of_a_perfect_attack(**settings):
    """On 1000 members and 1000 others."""
    member = np.repeat([0, 1], 1000)
    sums = ScoreSums.from_scores(0.3 + 0.65 * member, member, np.zeros(2000, int))
    record = {"time": 0.0, "pooled": {"loss": sums.to_dict()}, "own": {}, "clinics": ALL, "declined": {}, "problem": ""}
    return audit_of(record, {"dp_epsilon": 0, "dp_delta": 1e-5, "audit_canaries": 0} | settings)


def shown_of_guesses(right, wrong, **settings):
    labels = np.repeat([1, 0], [right, wrong])
    sums = ScoreSums.from_scores(np.full(len(labels), 0.5), labels, np.ones(len(labels), int))
    pooled = {"canaries": sums.to_dict()}
    record = {"time": 0.0, "pooled": pooled, "own": {}, "clinics": ALL, "declined": {}, "problem": ""}
    return audit_of(record, {"dp_epsilon": 1.0, "dp_delta": 1e-5, "audit_canaries": 50} | settings)


def test_guesses_of_canaries_prove_an_epsilon_that_stands_beside_the_stated_one():
    found = shown_of_guesses(90, 38)
    words = " ".join(found["words"])
    assert found["canaries"]["canaries"] == 200 and 0.3 < found["canaries"]["epsilon"] < 1
    assert "90 of 128 guesses are right" in words and "at least epsilon" in words and "states epsilon 1;" in words
    assert (
        "no result" not in words
        and "more than is stated" not in words
        and words in text_of(audit_text(found))[:-1].replace("\n", " ")
    )
    assert "more than is stated" in " ".join(shown_of_guesses(120, 8)["words"])
    assert "guesses prove no epsilon above 0" in " ".join(shown_of_guesses(64, 64)["words"])
    assert shown_of_a_perfect_attack(dp_epsilon=8.0)["canaries"] is None


def test_more_than_is_stated_is_an_alarm():
    found = shown_of_a_perfect_attack(dp_epsilon=3.0)
    words = " ".join(found["words"])
    assert found["attacks"]["loss"]["epsilon"] > 3 and found["attacks"]["loss"]["tpr_at_1"] == 1.0
    assert "Stated: epsilon 3 at delta 1e-05" in words and "That is more than is stated" in words
    assert "safe" not in words.lower()
    within = " ".join(shown_of_a_perfect_attack(dp_epsilon=8.0)["words"])
    assert "at least epsilon" in within and "more than is stated" not in within
