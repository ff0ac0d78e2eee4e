"""External validation: the model that a run ended with, evaluated once at clinics that had no part in it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from embryofl.errors import UserError
from embryofl.membership import METRICS
from embryofl.metrics import ScoreSums
from embryofl.metrics.bins import BINS
from embryofl_server.cli import show_results
from embryofl_server.federation import external, final_model
from embryofl_server.federation.checkpoint import Checkpoints
from embryofl_server.report.external import compared
from embryofl_server.report.pages import markdown
from embryofl_server.runs.log import Runs
from embryofl_server.runs.view import RunView
from kits.enrolment import audit, join
from kits.rounds import always


def scored(seed: int, n: int = 300):
    """Scores in the middle of bins, and labels that agree with them to a degree."""
    rng = np.random.default_rng(seed)
    scores = (rng.integers(0, BINS, n) + 0.5) / BINS
    return scores, (rng.random(n) < 0.2 + 0.6 * scores).astype(int)


@pytest.fixture
def validated(stage):
    """`validated(**settings)`: a run of anna and bert has ended; cleo has not taken part."""
    scores, labels = scored(1)
    half = len(scores) // 2

    def finished(**settings):
        staged = stage(**{"clinics": ("anna", "bert"), "min_clinics": 2, "rounds": 1} | settings)
        staged.fleet.right = {0: 5, 1: 9}
        metrics = staged.fleet._metrics

        def at(request):
            found = metrics(request)
            if request.clinic == "cleo" and request.kind == "evaluate":
                parts = {"validation": slice(0, half), "test": slice(half, None)}
                found |= {
                    s: ScoreSums.from_scores(scores[p], labels[p], [5] * half).to_dict() for s, p in parts.items()
                }
            return found

        staged.fleet._metrics = at
        staged.go()
        staged.run.set_state("finished", 1)
        staged.runs = Runs(staged.run.folder.parent)

        def validate(*clinics):
            origin = external.check(staged.run, clinics, staged.store, staged.runs)
            external.note(staged.run, clinics, "somebody", origin)
            message = staged.loop().validate(external.pending(staged.run))
            external.forget(staged.run)
            staged.run.set_state("finished", 1)
            return message

        return SimpleNamespace(**vars(staged), validate=validate, scores=scores, labels=labels)

    return finished


@pytest.mark.report
def test_results_and_card_have_what_scikit_learn_says_of_the_same_scores(validated):
    staged = validated()
    assert staged.validate("cleo") == ""
    assert staged.fleet.sent[-1] == ("cleo", 1) and len(staged.fleet.sent) == 5  # once, and nobody else again
    results = RunView(staged.run).results()
    found = results["external"]["clinics"]["cleo"]["all"]
    assert found["n"] == 300 and results["external"]["pooled"]["all"]["n"] == 300
    expected = {
        "auroc": roc_auc_score(staged.labels, staged.scores),
        "auprc": average_precision_score(staged.labels, staged.scores),
    }
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value, abs=0.01)
        assert found[name]["interval"][0] < value < found[name]["interval"][1]
    before = found["before"]
    assert before["brier"]["value"] == pytest.approx(brier_score_loss(staged.labels, staged.scores), abs=1e-4)
    assert before["slope"]["interval"] and before["in_the_large"]["interval"] and before["ece"]["interval"]
    rows = {row["metric"]: row for row in results["external"]["compared"]}
    assert {*rows} >= {"auroc", "auprc", "brier", "ece"}
    assert rows["auroc"]["internal"] == results["splits"]["test"]["pooled"]["all"]["auroc"]
    card = json.loads((staged.run.folder / "model-card.json").read_text())
    assert "## External validation" in markdown(card) and "not on another clinic" not in markdown(card)
    assert "External validation" in (staged.run.folder / "model-card.html").read_text()
    assert show_results.results_text({**results, "held_back": []})
    assert {*results["splits"]["test"]["clinics"]} == {"anna", "bert"}  # as before
    public = json.loads((staged.run.folder / "results-public.json").read_text())
    assert "cleo" not in public["external"]["clinics"]  # it does not show its own


def test_difference_has_the_interval_of_independent_estimates():
    """By simulation: two means of normal numbers."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        one, other = rng.normal(0.8, 0.03), rng.normal(0.7, 0.05)
        tables = [
            {"auroc": {"value": v, "interval": [v - 1.96 * e, v + 1.96 * e]}, "auprc": None, "after": None}
            | {"before": dict.fromkeys(("brier", "ece", "in_the_large", "slope"))}
            for v, e in ((one, 0.03), (other, 0.05))
        ]
        low, high = compared(tables[1], tables[0])[0]["difference"]["interval"]
        hits += low <= 0.1 <= high
    assert 0.935 < hits / 2000 < 0.965


@pytest.mark.parametrize("clinics", [("anna",), ("cleo", "bert")])
def test_clinic_with_a_part_in_the_training_is_refused(validated, clinics):
    with pytest.raises(UserError, match="had a part in the training of run-0001"):
        validated().validate(*clinics)


def test_clinic_of_a_run_whose_model_it_began_from_is_refused(validated, stage):
    first = validated()
    model = np.fromfile(first.run.folder / "model.safetensors", np.uint8)
    later = stage(clinics=("cleo",), min_clinics=1, rounds=1, masked_weights="")
    later.checkpoints.save(0, model, {"clinics": {}, "refused": {}, "initial": "somewhere.safetensors"})
    later.go()
    later.run.set_state("finished", 1)
    with pytest.raises(UserError, match=r"anna had a part in the training of run-0002, or of a run whose model"):
        external.check(later.run, ["anna"], first.store, first.runs)


def test_weights_of_unknown_origin_are_told(validated):
    staged = validated()
    origin = external.check(staged.run, ["cleo"], staged.store, staged.runs)
    assert "no run of this hub has made" in origin


def test_another_model_than_the_run_ended_with_is_refused(validated, packed):
    """The attack: weights made to tell the label of one image, in place of the run's."""
    staged = validated()
    (staged.run.folder / "model.safetensors").write_bytes(packed(7).tobytes())
    with pytest.raises(UserError, match="not the one that the run ended with"):
        staged.validate("cleo")
    found = json.loads((staged.run.folder / "model.json").read_text())
    digest = external.sha256_of(staged.run.folder / "model.safetensors")
    (staged.run.folder / "model.json").write_text(json.dumps(found | {"sha256": digest}))
    with pytest.raises(UserError, match="not the one that the run ended with"):
        staged.validate("cleo")
    assert ("cleo", 1) not in staged.fleet.sent


def test_clinic_answers_for_a_model_once(validated):
    """The attack: the difference of two sums, or of answers before and after an embryo came, is that clinic or embryo."""
    staged = validated()
    staged.validate("cleo")
    with pytest.raises(UserError, match="cleo have evaluated the model of run-0001 before"):
        staged.validate("cleo")
    assert staged.fleet.sent.count(("cleo", 1)) == 1


@pytest.mark.parametrize(("releases", "words"), [("none", "release no metrics"), ("pooled", "at least 3 such clinics")])
def test_clinics_that_would_release_nothing_are_refused(validated, releases, words):
    staged = validated()
    staged.store.set_choices("cleo", {METRICS: releases})
    with pytest.raises(UserError, match=words):
        staged.validate("cleo")


@pytest.mark.report
def test_clinic_that_declines_is_shown_with_its_reason(validated):
    staged = validated()
    staged.fleet.fault = always("cleo", "refuse")
    assert "0 usable replies" in staged.validate("cleo")
    (one,) = RunView(staged.run).results()["external"]["validations"]
    assert one["own"] == [] and "not today" in one["why"]["cleo"]
    staged.fleet.fault = lambda *_: None
    assert staged.validate("cleo") == ""  # its policy may have changed


def test_only_finished_runs_are_validated(validated):
    staged = validated()
    staged.run.set_state("stopped", 1)
    with pytest.raises(UserError, match="run-0001 is stopped. Expected a finished run"):
        staged.validate("cleo")


def test_validation_is_queued_and_stopped_like_a_run_which_stays_finished(hub, tmp_path, packed):
    for name in ("anna", "bert", "cleo"):
        join(hub, name)
    packed(0).tofile(tmp_path / "x.safetensors")
    run, other = (hub.conductor.queue({"clinics": "anna,bert"}, str(tmp_path / "x.safetensors")) for _ in range(2))
    checkpoints = Checkpoints(run.folder, hub.settings.weights / run.name, 3)
    model = checkpoints.save(1, packed(1), {"clinics": {"anna": {}, "bert": {}}, "refused": {}})
    final_model.write_model(run, model, hub.store.clinics())
    run.set_state("finished", 1, "unusual")
    other.set_state("running", 0)
    hub.conductor.validate(run.name, ["cleo"], by="somebody")
    assert run.state["state"] == "queued" and run.state["reason"] == "External validation at cleo."
    assert hub.runs.next() == other  # it has begun
    hub.conductor.pause(run.name)
    hub.conductor.resume(run.name)
    assert external.pending(run)["clinics"] == ["cleo"]
    hub.conductor.stop(run.name, by="somebody")
    assert run.state["state"] == "finished" and external.pending(run) == {}
    (begun,), (ended,) = audit(hub, "validation_started"), audit(hub, "validation_ended")
    assert begun["sha256"] == model.record["sha256"] and begun["clinics"] == ["cleo"] and ended["by"] == "somebody"
    with pytest.raises(UserError, match="There is no clinic clo; did you mean cleo"):
        hub.conductor.validate(run.name, ["clo"])
