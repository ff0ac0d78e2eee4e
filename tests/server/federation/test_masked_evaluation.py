"""Metrics of clinics that release only pooled ones: one sum of grouped histograms, whoever drops out and whenever the hub dies."""

import json
import time

import numpy as np
import pytest

from embryofl.membership import METRICS
from embryofl.metrics import ScoreSums, merge
from embryofl.pooled_metrics import GROUP, LENGTH, from_vector, to_vector
from embryofl.secagg.fixed_point import RING
from embryofl_clinic.policy.questions import FILE as QUESTIONS
from embryofl_server.federation.masking import evaluation as module
from embryofl_server.runs.view import RunView
from kits.masked_rounds import EMBRYOS, FakeWorkload, Killed, masked_stages
from kits.rounds import events, once

pytestmark = pytest.mark.integration

SPLITS = ("validation", "test")
ALL = ["anna", "bert", "cleo", "dora"]


@pytest.fixture
def stage(tmp_path, packed, monkeypatch):
    """`stage(own=..., **settings)`: a run without masks of updates, of clinics that release pooled metrics."""
    monkeypatch.setattr(module, "RETRY_S", 0.02)
    with masked_stages(tmp_path, packed, monkeypatch) as ready:

        def make(own=(), **settings):
            staged = ready(ALL, {"rounds": 2, "min_clinics": 3, "strategy": "median"} | settings, "pooled")
            for name in ALL:
                staged.store.set_choices(name, {METRICS: "own" if name in own else "pooled"})
            for name in own:
                release_own(staged, name)
            return staged

        yield make


def release_own(staged, name):
    policy = staged.fleet.state_dir(name) / "policy.toml"
    policy.write_text(policy.read_text().replace("pooled", "own"))


def grouped(names, split):
    """What the pooled sums of these clinics should be: day 3 has too few embryos for one bin."""
    parts = [FakeWorkload(EMBRYOS[name]).evaluate(split).sums().suppress(5, GROUP) for name in names]
    return merge(ScoreSums({5: part.days[5]}) for part in parts)


def record(staged):
    return RunView(staged.run).model()


def assert_sums_of(staged, names):
    pooled = record(staged)["pooled"]
    assert pooled["clinics"] == names
    for split in SPLITS:
        sums = ScoreSums.from_dict(pooled[split])
        assert np.array_equal(sums.days[5].histogram, grouped(names, split).days[5].histogram)
        assert sums.days[3].counts.sum() == 0 and sums.days[3].withheld == len(names)


# -- the vector ----------------------------------------------------------------------------------------------------------
def test_vector_holds_nothing_but_bins_of_many_and_adds_up():
    rng = np.random.default_rng(0)
    days, labels = np.repeat([0, 3, 5], [14, 40, 70]), rng.integers(0, 2, 124)
    parts = [ScoreSums.from_scores(rng.random(124), labels, days, np.arange(124) // 6) for _ in range(3)]
    vectors = [to_vector(dict.fromkeys(SPLITS, part), 5) for part in parts]
    for vector in vectors:
        assert vector.shape == (LENGTH,) and vector.dtype == RING
        for sums in from_vector(vector).values():
            assert sums.days[0].withheld == 1 and not sums.days[0].histogram.any()
            for day in (3, 5):
                bins = sums.days[day].histogram.sum(axis=0)
                assert bins[bins > 0].min() >= GROUP and sums.days[day].withheld == 0
    pooled = from_vector(sum(vectors[1:], vectors[0]))["test"]
    assert pooled.days[0].withheld == 3 and pooled.pooled().counts.sum() == 3 * 110
    assert pooled.days[5].ranking.cohorts == 0
    exact = merge(parts).summary(5)
    assert pooled.summary(5).loss == pytest.approx(exact.loss, abs=0.1) and pooled.summary(5).loss != exact.loss


def test_a_larger_min_cell_makes_larger_bins():
    sums = ScoreSums.from_scores(np.linspace(0, 1, 100), np.arange(100) % 2, np.full(100, 5))
    bins = from_vector(to_vector(dict.fromkeys(SPLITS, sums), 40))["test"].days[5].histogram.sum(axis=0)
    assert bins[bins > 0].min() >= 40 and bins.sum() == 100


@pytest.mark.parametrize("apart", [0.4, 0.8, 1.2])
@pytest.mark.parametrize(("n", "most"), [(100, 0.01), (40, 0.05)])
def test_pooled_auroc_of_three_clinics_is_close_to_the_exact_one(n, most, apart):
    errors, within = [], []
    for seed in range(40):
        rng, parts = np.random.default_rng(seed), []
        for clinic in range(3):
            labels = np.arange(n) % 3 // 2
            scores = 1 / (1 + np.exp(-rng.normal(apart * (labels - 0.5) + clinic / 5, 1.0)))
            parts.append(ScoreSums.from_scores(scores, labels, np.full(n, 5)))
        total = sum((to_vector(dict.fromkeys(SPLITS, part), 5) for part in parts), np.zeros(LENGTH, RING))
        pooled, exact = from_vector(total)["test"].summary(5), merge(parts).summary(5)
        assert exact.auroc_blur == 0 < pooled.auroc_blur < 0.25
        errors.append(abs(pooled.auroc - exact.auroc))
        within.append(errors[-1] <= pooled.auroc_blur)
    assert np.mean(errors) <= most and np.mean(within) >= 0.9


def test_days_whose_groups_hide_most_of_the_order_have_no_auroc():
    sums = ScoreSums.from_scores(np.linspace(0, 1, 29), np.arange(29) % 2, np.full(29, 5))
    pooled = from_vector(3 * to_vector(dict.fromkeys(SPLITS, sums), 5))["test"]
    assert pooled.days[5].blur == 87 and pooled.summary(5).auroc is None and pooled.summary(5).brier


# -- a run ---------------------------------------------------------------------------------------------------------------
@pytest.mark.report
def test_hub_learns_the_sum_of_grouped_histograms_and_nothing_of_one_clinic(stage):
    staged, kept = stage(), []
    collect = staged.uploads.collect
    staged.uploads.collect = lambda path: kept.append((found := collect(path)).path.read_bytes()) or found
    staged.go()
    assert staged.message == "" and record(staged)["evaluation"] == {}
    assert_sums_of(staged, ALL)
    vectors = [np.frombuffer(data, RING) for data in kept if len(data) == 4 * LENGTH]
    assert len(vectors) == 4 and all(0.4 < (v / 2**32).mean() < 0.6 and len(np.unique(v)) > LENGTH - 9 for v in vectors)
    lines = RunView(staged.run).lines()
    assert {(x["split"], x["clinic"]) for x in lines if x["split"] != "train"} == {(s, "pooled") for s in SPLITS}
    assert all(x["loss"] is None for x in lines if x["split"] == "train")
    results = json.loads((staged.run.folder / "results.json").read_text())
    test = results["splits"]["test"]
    assert test["whose"] == "all clinics" and test["clinics"] == {} and test["pooled"]["all"]["n"] == 160
    assert (
        results["calibration"]["threshold"]
        and "once, after the last round, the sum over anna" in results["metrics_seen"]
    )
    assert not list(staged.run.folder.glob("*.masked"))


@pytest.mark.report
def test_clinics_that_release_their_own_are_asked_as_ever(stage):
    staged = stage(own=["bert"])
    staged.go()
    assert_sums_of(staged, ["anna", "cleo", "dora"])
    assert list(record(staged)["evaluation"]) == ["bert"] and record(staged)["evaluation"]["bert"]["test"]
    test = json.loads((staged.run.folder / "results.json").read_text())["splits"]["test"]
    assert (test["whose"], list(test["clinics"]), test["pooled"]["all"]["n"]) == ("all clinics", ["bert"], 170)


@pytest.mark.report
def test_fewer_than_three_release_nothing(stage):
    staged = stage(own=["bert", "cleo"])
    staged.go()
    assert record(staged)["pooled"] == {} and staged.message == ""
    results = json.loads((staged.run.folder / "results.json").read_text())
    assert results["splits"]["test"]["whose"] == "2 of 4 clinics" and "needs 3 clinics" in results["metrics_seen"]


@pytest.mark.parametrize("kind", ["keys", "letters", "evaluate"])
def test_lost_clinic_is_not_in_the_sum(stage, kind):
    staged = stage(round_deadline_s=0.4, grace_s=0.2)
    staged.fleet.fault = lambda k, name, round_: "gone" if (k, name, round_) == (kind, "bert", 2) else None
    staged.go()
    assert_sums_of(staged, ["anna", "cleo", "dora"])


def test_clinic_lost_after_its_upload_is_in_the_sum(stage):
    staged = stage(round_deadline_s=0.4, grace_s=0.2)
    staged.fleet.fault = lambda k, name, round_: "gone" if (k, name, round_) == ("survivors", "bert", 2) else None
    staged.go()
    assert_sums_of(staged, ALL)


@pytest.mark.parametrize("kind", ["keys", "letters", "evaluate", "survivors", "shares"])
def test_hub_killed_in_any_phase_ends_with_the_same_metrics(stage, kind):
    staged = stage()
    staged.fleet.fault = once(kind, "cleo", 2, "killed")
    with pytest.raises(Killed):
        staged.go()
    staged.go()
    assert_sums_of(staged, ALL)


def test_clinics_that_were_restarted_make_the_same_sum_again(stage):
    staged, left = stage(round_deadline_s=0.4, grace_s=0.2), {"anna", "bert"}

    def fault(kind, name, round_):
        if (kind, round_) != ("shares", 2) or name not in left:
            return None
        left.remove(name)
        return "restart"

    staged.fleet.fault = fault
    staged.go()
    assert_sums_of(staged, ALL)


def test_metrics_that_cannot_be_are_not_used(stage):
    staged = stage()

    def fault(kind, name, round_):
        if kind == "evaluate":
            staged.store.set_choices(name, {"counts": {"5": {"0": 9, "1": 9}}})

    staged.fleet.fault = fault
    staged.go()
    assert record(staged)["pooled"] == {} and "Metrics over 320 embryos, but at most 84 are approved" in staged.message


def spend(staged, names):
    """These clinics have answered an evaluation of another run a moment ago."""
    question = {"time": time.time(), "run": "run-0099", "round": 2, "released": "pooled", "embryos": {"test": 50}}
    question |= dict.fromkeys(("model", "work", "answer"), "ab" * 32)
    for name in names:
        (staged.fleet.state_dir(name) / QUESTIONS).write_text(json.dumps([question]))


@pytest.mark.report
def test_clinics_that_have_answered_as_many_evaluations_as_they_do_are_named_with_the_remedy(stage):
    staged = stage()
    spend(staged, ["anna", "bert"])
    staged.go()
    words = (
        "none of anna, bert, which have answered as many evaluations as their policies allow (ask them for a higher "
        "max_evaluations)"
    )
    assert (staged.run.folder / "model.safetensors").exists() and events(staged.run)[-1]["kind"] == "finished"
    assert record(staged)["pooled"] == {} and f"could not be summed. The hub sees {words}." in staged.message
    assert words in json.loads((staged.run.folder / "results.json").read_text())["metrics_seen"]


@pytest.mark.report
def test_others_are_summed_without_a_clinic_that_has_answered_as_many_evaluations_as_it_does(stage):
    staged = stage()
    spend(staged, ["dora"])
    staged.go()
    assert_sums_of(staged, ["anna", "bert", "cleo"])
    seen = json.loads((staged.run.folder / "results.json").read_text())["metrics_seen"]
    assert "the sum over anna, bert, cleo; none of dora, which have answered as many" in seen and staged.message == ""


# -- on the way ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def way(stage):
    """A run that asks after rounds 2 and 4 and at the end, of clinics that answer so many evaluations, by default three."""

    def make(own=(), **most):
        staged = stage(own, rounds=5, pooled_every=2)
        for name in ALL:
            with (staged.fleet.state_dir(name) / "policy.toml").open("a") as policy:
                policy.write(f"max_evaluations = {most.get(name, 3)}\n")
        return staged

    return make


def pooled_lines(staged):
    """Split and round to the number of clinics and embryos of the pooled metrics of all days."""
    lines = [x for x in RunView(staged.run).lines() if x["clinic"] == "pooled" and x["day"] is None]
    return {(x["split"], x["round"]): (x["clinics"], x["n"]) for x in lines}


def asked(staged):
    return [(e["round"], e["clinics"], e["spent"]) for e in events(staged.run) if e["kind"] == "pooled"]


@pytest.mark.report
def test_pooled_metrics_on_the_way_make_a_curve_of_validation_patients(way):
    staged = way()
    staged.go()
    validation = {("validation", round_): (4, 160) for round_ in (2, 4, 5)}
    assert pooled_lines(staged) == validation | {("test", 5): (4, 160)} and staged.message == ""
    view = RunView(staged.run).refresh()
    assert [point[0] for point in view.curve()] == [2, 4, 5] and all(point[1] for point in view.curve())
    course = {r["round"]: r["pooled"]["n"] for r in view.results()["rounds"]}
    assert course == {0: 0, 1: 0, 2: 160, 3: 0, 4: 160} and "every 2 rounds" in view.results()["metrics_seen"]
    assert "test" not in json.loads((staged.run.folder / "round-0003.json").read_text())["pooled"]
    assert not list(staged.run.folder.glob("*.masked"))


def test_clinics_whose_budget_does_not_cover_the_run_are_summed_at_its_end_alone(way):
    staged = way(dora=2)
    staged.go()
    three = ["anna", "bert", "cleo"]
    assert asked(staged) == [(2, three, ["dora"]), (4, ALL, [])]  # two are left, and two are asked for
    assert pooled_lines(staged)["validation", 2] == (3, 120) and pooled_lines(staged)["test", 5] == (4, 160)


def test_by_default_nobody_answers_on_the_way_and_all_do_at_the_end(way):
    staged = way(**dict.fromkeys(ALL, 1))
    staged.go()
    assert asked(staged) == [(2, [], ALL), (4, [], ALL)] and staged.message == ""
    assert pooled_lines(staged) == {(split, 5): (4, 160) for split in SPLITS}


def test_metrics_on_the_way_are_pooled_with_those_of_clinics_that_release_their_own(way):
    staged = way(own=["bert"])
    staged.go()
    assert {r: n for (split, r), n in pooled_lines(staged).items() if split == "validation"} == {
        **dict.fromkeys((0, 1, 3), (1, 50)),
        **dict.fromkeys((2, 4, 5), (4, 170)),
    }


@pytest.mark.parametrize(("kind", "round_"), [("keys", 2), ("evaluate", 2), ("shares", 2), ("train", 3)])
def test_hub_killed_on_the_way_goes_on_with_the_same_metrics(way, kind, round_):
    staged = way()
    staged.fleet.fault = once(kind, "cleo", round_, "killed")
    with pytest.raises(Killed):
        staged.go()
    staged.go()
    assert pooled_lines(staged)["validation", 2] == pooled_lines(staged)["validation", 4] == (4, 160)
    assert_sums_of(staged, ALL)


def test_clinic_that_releases_its_own_declines_to_be_summed(stage):
    staged = stage()
    release_own(staged, "dora")  # the hub does not know yet
    staged.go()
    assert_sums_of(staged, ["anna", "bert", "cleo"])
    (said,) = [e["words"] for e in events(staged.run) if e["kind"] == "refused"]
    assert said.startswith("the clinic does not release metrics under masks (metrics = own)")
