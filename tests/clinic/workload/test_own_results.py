"""A clinic's exact metrics of its own patients equal scikit-learn's, are shown in its app and are never sent."""

import hashlib
import json

import numpy as np
import pytest
from sklearn import metrics as reference
from starlette.testclient import TestClient

from embryofl.metrics import ScoredEmbryos
from embryofl.settings import RunSettings
from embryofl.wire import Layout
from embryofl_clinic.scoring.model_store import ModelStore
from embryofl_clinic.workload.own_results import FILE, OwnResultsFile
from kits.clinic_app import started_app
from kits.policy import write_policy

LAYOUT = Layout.of({"w": ("F32", (4,))})
MODEL = LAYOUT.empty()
BASE = "http://127.0.0.1:8088"


def embryos(seed: int, n: int = 60) -> ScoredEmbryos:
    """Embryos of two days, many with equal scores."""
    rng = np.random.default_rng(seed)
    labels, days = np.arange(n) % 3 % 2, np.repeat([3, 5], n // 2)
    return ScoredEmbryos(np.round(np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1), 2), labels, days)


@pytest.fixture
def evaluated(clinic, make_request):
    """A clinic after one training round and the final evaluation, and the embryos that it evaluated, by split."""
    anna, by_split = clinic(), {"validation": embryos(1), "test": embryos(2)}
    anna.workload.evaluate = by_split.__getitem__
    anna.receive(make_request(round=2))
    anna.after_training = OwnResultsFile(anna.settings.state_dir).read()
    anna.receive(make_request(kind="evaluate", upload_url="", round=3))
    return anna, by_split


def test_own_results_equal_scikit_learns_on_each_day_and_all_days(evaluated):
    anna, by_split = evaluated
    splits = OwnResultsFile(anna.settings.state_dir).read().splits
    assert set(splits) == set(by_split)
    for name, results in splits.items():
        scores, labels, days, _ = by_split[name]
        for day, metrics in [*results.days.items(), (None, results.all_days)]:
            of_day = np.ones(len(days), bool) if day is None else days == day
            auroc = reference.roc_auc_score(labels[of_day], scores[of_day])
            assert metrics.embryos == of_day.sum() and metrics.positives == labels[of_day].sum()
            assert metrics.auroc == pytest.approx(auroc, abs=1e-12)
            auprc = reference.average_precision_score(labels[of_day], scores[of_day])
            assert metrics.auprc == pytest.approx(auprc, abs=1e-12)
            assert metrics.auroc_interval[0] < auroc < metrics.auroc_interval[1]
            assert metrics.auprc_interval[0] < auprc < metrics.auprc_interval[1]


def test_training_round_updates_only_validation_and_names_the_evaluated_model(evaluated):
    anna, _ = evaluated
    training = anna.after_training.splits
    assert {split: (r.run, r.round) for split, r in training.items()} == {"validation": ("run-0001", 1)}
    final = OwnResultsFile(anna.settings.state_dir).read().splits
    assert {split: r.round for split, r in final.items()} == {"validation": 3, "test": 3}


def test_replies_do_not_contain_own_results(evaluated):
    anna, _ = evaluated
    sent = "".join(anna.link.replies)
    for results in OwnResultsFile(anna.settings.state_dir).read().splits.values():
        for metrics in [*results.days.values(), results.all_days]:
            assert str(metrics.auroc)[:8] not in sent and str(metrics.auprc)[:8] not in sent
    assert "auroc" not in sent and "auprc" not in sent


def test_the_clinic_app_shows_own_results(evaluated):
    anna, by_split = evaluated
    links = []
    client = TestClient(started_app(anna.settings, links), base_url=BASE)
    client.get(links[-1])
    page = client.get("/").text
    for scores, labels, days, _ in by_split.values():
        assert f"{reference.roc_auc_score(labels[days == 5], scores[days == 5]):.3f} (" in page
        assert f"{reference.average_precision_score(labels, scores):.3f} (" in page
    assert "never sent" in page


def test_reply_is_sent_even_if_own_results_can_be_neither_read_nor_written(clinic, make_request):
    anna = clinic()
    anna.settings.state_dir.mkdir(exist_ok=True)
    (anna.settings.state_dir / FILE).mkdir()  # neither readable nor replaceable
    anna.receive(make_request())
    assert len(anna.link.replies) == 1 and anna.link.failures == []
    assert OwnResultsFile(anna.settings.state_dir).read().splits == {}


@pytest.mark.parametrize(("scores", "labels"), [([], []), ([0.5], [1]), ([0.1, 0.9], [0, 0]), ([0.2, 0.7], [0, 1])])
def test_metrics_without_embryos_of_a_label_are_none(tmp_path, make_request, scores, labels):
    few = ScoredEmbryos(np.array(scores, float), np.array(labels, int), np.full(len(labels), 5))
    results = OwnResultsFile(tmp_path)
    results.save(make_request(), {"validation": few})
    metrics = results.read().splits["validation"].all_days
    assert (metrics.embryos, metrics.auroc_interval) == (len(labels), None)
    assert metrics.auroc == (1.0 if len(set(labels)) == 2 else None) == metrics.auprc


@pytest.fixture
def finished(clinic, make_request):
    """`finished(**settings)`: a clinic that has trained in a run of these settings, and has its final model, of round 3."""

    def make(**settings):
        anna = clinic()
        anna.workload.evaluate = {"validation": embryos(1), "test": embryos(2)}.__getitem__
        anna.receive(make_request(round=3))
        card = {"run": "run-0001", "round": 3, "sha256": hashlib.sha256(MODEL).hexdigest()}
        card["settings"] = RunSettings(**settings).model_dump()
        ModelStore(anna.settings.state_dir).put("run-0001", MODEL, json.dumps(card).encode())
        return anna

    return make


def final_round(anna):
    anna.trainer._final_results.update()
    return {split: results.round for split, results in OwnResultsFile(anna.settings.state_dir).read().splits.items()}


@pytest.mark.parametrize("policy", ["none", "pooled"])
def test_clinic_sees_its_own_metrics_of_the_final_model_though_it_releases_none(finished, make_request, policy):
    anna = finished()
    write_policy(anna.settings.state_dir, metrics=policy)
    anna.receive(make_request(kind="evaluate", upload_url="", round=RunSettings().rounds))
    sent = [*anna.link.replies, *map(str, anna.transfers.uploads)]
    assert final_round(anna) == {"validation": 3, "test": 3}
    own = OwnResultsFile(anna.settings.state_dir).read()
    scores, labels, *_ = embryos(2)
    assert own.splits["test"].all_days.auroc == pytest.approx(reference.roc_auc_score(labels, scores), abs=1e-12)
    assert [*own.rounds] == [2, 3] and sent == [*anna.link.replies, *map(str, anna.transfers.uploads)]


def test_final_model_that_a_request_has_evaluated_is_not_evaluated_again(finished, make_request):
    anna = finished()
    anna.receive(make_request(kind="evaluate", upload_url="", round=3))
    anna.workload.evaluate = None
    assert final_round(anna) == {"validation": 3, "test": 3}


def test_final_model_waits_for_the_end_of_quiet_hours(finished):
    anna = finished()
    write_policy(anna.settings.state_dir, quiet_hours="00:00-23:59:59.999999")
    assert final_round(anna) == {"validation": 2}
    write_policy(anna.settings.state_dir)
    assert final_round(anna) == {"validation": 3, "test": 3}


def test_test_patients_are_not_looked_at_where_the_run_has_no_final_evaluation(finished):
    assert final_round(finished(closing_evaluation=False)) == {"validation": 2}


def test_final_model_that_cannot_be_evaluated_costs_a_line_of_the_log(finished, caplog):
    anna = finished()
    anna.workload.evaluate = None
    assert final_round(anna) == {"validation": 2} and "cannot be evaluated for the clinic's page" in caplog.text
    assert final_round(anna) == {"validation": 2} and caplog.text.count("cannot be evaluated") == 1
