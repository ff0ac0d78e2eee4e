"""Votes of clinics under masks: a model that is worse for half of them is taken back, once and for the same bits."""

import hashlib

import numpy as np
import pytest

from embryofl.errors import UserError
from embryofl_clinic.masking import attempt as clinic_side
from embryofl_server.federation.checkpoint import Checkpoints
from embryofl_server.federation.masking import rounds as module
from embryofl_server.federation.masking.votes import vote
from embryofl_server.federation.run_settings import check_settings
from kits.masked_rounds import EMBRYOS, LEAST, Killed, masked_stages, undisturbed
from kits.rounds import events, once
from kits.run_reports import read

pytestmark = pytest.mark.integration


@pytest.fixture
def stage(tmp_path, packed, monkeypatch):
    """`stage(poisons, **settings)`: a masked run in which anna sends bad updates in these rounds."""
    with masked_stages(tmp_path, packed, monkeypatch) as ready:

        def make(poisons=(2,), clinics=3, metrics="own", **settings):
            values = {"rounds": 4, "min_clinics": 3, "secure_aggregation": "required", "strategy": "fedavg"}
            checked = check_settings(values | LEAST | settings).model_dump()
            run = ready(list(EMBRYOS)[:clinics], checked, metrics)
            run.fleet.workloads["anna"].poisons = {*poisons}
            return run

        yield make


def records(run):
    return run.checkpoints.records()


def test_model_that_half_of_the_clinics_find_worse_is_taken_back_with_the_state_of_then(stage):
    run = stage(strategy="fedavgm")
    run.go()
    _, good, bad, voted, after = records(run)
    assert voted["masking"]["alarms"] == 3 and "alarms" not in good
    assert voted["back_to"] == 1 and "3 of 3 clinics find the model of round 2 worse" in voted["void"]
    assert voted["sha256"] == good["sha256"] != bad["sha256"]
    assert voted["state"] == good["state"] != bad["state"]
    assert after["sha256"] not in {good["sha256"], bad["sha256"]} and "void" not in after
    (event,) = [e for e in events(run.run) if e["kind"] == "rolled_back"]
    assert (event["round"], event["to"]) == (3, 1)
    details = {"run": run.run.name, "round": 3, "to": 1, "model": good["sha256"]}
    assert ("rolled_back", details) in run.audit


@pytest.mark.report
def test_results_and_card_say_that_a_model_was_taken_back_also_where_others_read_them(stage):
    run, without = stage(), stage(poisons=())
    run.go(), without.go()
    (one,) = read(run.run, "results.json")["voted_down"]
    assert (one["round"], one["to"]) == (3, 1) and "3 of 3 clinics find the model of round 2 worse" in one["words"]
    assert read(run.run, "results-public.json")["voted_down"] == [one]
    assert read(without.run, "results.json")["voted_down"] == []
    for name in ("model-card", "model-card-public"):
        for ending in (".md", ".html"):
            pages = [(each.run.folder / (name + ending)).read_text() for each in (run, without)]
            assert ["voted down" in page and "Round 3: 3 of 3 clinics" in page for page in pages] == [True, False]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["keys", "letters", "train", "survivors", "shares"])
@pytest.mark.parametrize("number", [3, 4])
def test_hub_killed_around_a_vote_ends_in_the_same_bits(stage, kind, number):
    run = stage()
    run.fleet.fault = once(kind, "bert", number, what="killed")
    with pytest.raises(Killed):
        run.go()
    assert run.go() == undisturbed(stage)
    assert [r.get("back_to") for r in records(run)] == [None, None, None, 1, None]


@pytest.mark.parametrize("number", [3, 4])
def test_clinic_that_restarts_around_a_vote_votes_again_as_before(stage, number):
    run = stage()
    run.fleet.fault = once("train", "bert", number, what="restart")
    assert run.go() == undisturbed(stage)
    assert records(run)[3]["masking"]["alarms"] == 3


def test_only_the_clinics_of_the_sum_before_train_from_the_model_again(stage):
    run = stage(clinics=4, rounds=5, round_deadline_s=0.5, grace_s=5)
    run.fleet.fault = lambda kind, name, number: "silent" if (name, number) == ("dora", 2) else None
    run.go()
    survivors = [r["masking"]["survivors"] for r in records(run)[2:]]
    three, four = ["anna", "bert", "cleo"], ["anna", "bert", "cleo", "dora"]
    assert survivors == [three, four, three, four] and records(run)[3]["back_to"] == 1


def leaving(run, name, kind, number):
    """This clinic leaves when the hub asks for this step of a round."""

    def fault(k, n, r):
        if (k, r) == (kind, number) and run.store.clinics()[name].state == "enrolled":
            run.store.set_state(name, "left", "The clinic left")

    return fault


@pytest.mark.report
def test_bad_model_stays_and_the_run_goes_on_if_a_clinic_of_the_sum_before_has_left(stage):
    run = stage(clinics=4, join_wait_s=0.3)
    run.fleet.fault = leaving(run, "dora", "shares", 2)
    run.go()
    _, _, bad, voted, last = records(run)
    assert voted["masking"]["alarms"] == 3 and "void" not in voted
    assert len({bad["sha256"], voted["sha256"], last["sha256"]}) == 3
    (event,) = [e for e in events(run.run) if e["kind"] == "not_rolled_back"]
    assert event["round"] == 3 and "updates to the model of round 1 were summed with dora (left)" in event["words"]
    (one,) = read(run.run, "results.json")["voted_down"]
    assert (one["round"], one["to"], one["words"]) == (3, None, event["words"])
    assert "summed with dora (left)" in (run.run.folder / "model-card.md").read_text()


def test_run_fails_and_says_why_if_a_clinic_leaves_without_which_nobody_trains_from_the_model_again(stage, monkeypatch):
    monkeypatch.setattr(module, "RETRY_FIRST_S", 0.05)
    run = stage(clinics=4, join_wait_s=5.0)
    run.fleet.fault = leaving(run, "dora", "keys", 4)
    with pytest.raises(UserError, match=r"Round 4: updates to this model were summed before with dora \(left\)"):
        run.go()
    assert records(run)[-1]["back_to"] == 1


def test_clinic_that_poisons_every_round_ends_the_run_with_the_remedy(stage):
    run = stage(poisons=range(2, 99), rounds=20)
    with pytest.raises(
        UserError, match=r"voted down 3 models that were trained from that of round 5.*lower learning_rate"
    ):
        run.go()
    assert [r["round"] for r in records(run) if "back_to" in r] == [3, 5]


@pytest.mark.parametrize(
    "settings", [{"alarms": False}, {"metrics": "none", "choose": "last"}], ids=["no alarms", "no metrics"]
)
def test_no_clinic_votes_without_alarms_or_with_a_policy_that_releases_no_metrics(stage, settings):
    run = stage(**settings)
    run.go()
    assert not any("back_to" in r or r.get("masking", {}).get("alarms") for r in records(run))
    assert not list(run.fleet.folder.rglob("alarms.json"))


def test_alarm_of_fewer_than_half_changes_nothing(stage):
    run = stage()
    for name in ("anna", "bert"):
        workload = run.fleet.workloads[name]
        workload.began = 1e9  # no model is bad for this clinic
    run.go()
    assert records(run)[3]["masking"]["alarms"] == 1
    assert not any("void" in r for r in records(run))


def test_more_alarms_than_clinics_make_the_round_void(stage, monkeypatch):
    run, real = stage(poisons=(), rounds=1), clinic_side.to_vector

    def many(*args, **slots):
        vector = real(*args, **slots)
        vector[-1] = 2
        return vector

    monkeypatch.setattr(clinic_side, "to_vector", many)
    run.go()
    assert "add up to 6: a clinic breaks the rules" in records(run)[1]["void"]


# -- what a vote is about -----------------------------------------------------------------------------------------------
@pytest.fixture
def rounds(tmp_path):
    """`rounds(record, ...)`: checkpoints of the initial model and of rounds with these records."""

    def make(*more, keep=9):
        checkpoints = Checkpoints(tmp_path / "records", tmp_path / "weights", keep)
        for folder in ("records", "weights"):
            (tmp_path / folder).mkdir()
        for number, record in enumerate(({}, *more)):
            packed = np.frombuffer(hashlib.sha256(b"%d" % number).digest(), np.uint8)
            checkpoints.save(number, packed, {"masking": {"survivors": [f"of {number}"]}} | record)
        return checkpoints

    return make


def down(checkpoints, alarms=2, clinics=4):
    number = len(checkpoints.records())
    found = vote(number, alarms, clinics, checkpoints)
    return found and (found.back_to, found.clinics)


def test_vote_needs_half_of_the_clinics_and_is_about_the_newest_model(rounds):
    checkpoints = rounds({}, {})
    assert down(checkpoints, 1, 3) is None and down(checkpoints, 2, 5) is None
    assert down(checkpoints, 2, 3) == down(checkpoints, 2, 4) == (1, ("of 2",))


def test_void_round_since_does_not_change_what_the_vote_is_about(rounds):
    assert down(rounds({}, {}, {"void": "too few shares"}, {"void": "too few shares"})) == (1, ("of 2",))


def test_initial_model_and_one_that_a_vote_has_brought_back_are_not_voted_down(rounds, tmp_path):
    assert down(rounds({}, {}, {"void": "voted down", "back_to": 1})) is None


def test_initial_model_stays(rounds):
    assert down(rounds({"void": "too few shares"})) is None


def test_model_before_that_is_no_longer_kept_is_named_in_the_log(rounds, caplog):
    assert down(rounds({}, {}, keep=1)) is None
    assert "EMBRYOFL_KEEP_CHECKPOINTS" in caplog.text
