"""Masked rounds: the model is that of the same run without masks, whoever drops out."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from embryofl.errors import UserError
from embryofl.secagg.fixed_point import RING
from embryofl.settings import PRIVATE
from embryofl_clinic.policy.rules import Policy
from embryofl_clinic.privacy.ledger import PrivacyLedger, spent
from kits.masked_rounds import EMBRYOS, Killed, assert_equal, masked_runs, numbers, record, undisturbed
from kits.policy import write_policy
from kits.rounds import LAYOUT, events, once

pytestmark = pytest.mark.integration


@pytest.fixture
def stage(tmp_path, packed, monkeypatch):
    """See `masked_runs`."""
    with masked_runs(tmp_path, packed, monkeypatch) as make:
        yield make


# -- the same model ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"strategy": "fednova"},
        {"strategy": "fednova", "optimiser": "sgd"},
        {"strategy": "fedavgm"},
        {"strategy": "fedadam"},
        {"strategy": "clipped_fedavg", "max_norm": 1.0},
    ],
    ids=str,
)
def test_masked_model_equals_the_unmasked_one(stage, settings):
    plain = stage(masks="off", **settings).go()
    run = stage(**settings)
    assert_equal(run.go(), plain)
    assert record(run)["masking"]["survivors"] == ["anna", "bert", "cleo"]


@pytest.mark.parametrize("strategy", ["fedavg", "fednova"])
@pytest.mark.parametrize("masks", ["required", "off"])
def test_no_clinic_has_more_than_its_part_of_a_round(stage, masks, strategy):
    """Of two of 32 embryos and one of 200, the strategies would make a model that is the one's."""
    models, parts = {}, {}
    for cap in (1.0, 0.5):
        for way in (masks, "off"):
            run = stage(masks=way, strategy=strategy, share_cap=cap, batch_size=512)
            for name, count in {"anna": 32, "bert": 32, "cleo": 200}.items():
                run.fleet.workloads[name].examples = count
                write_policy(run.fleet.state_dir(name), min_examples=1, max_share=1.0, metrics="none")
            models[cap, way] = run.go()
        parts[cap] = {name: clinic["share"] for name, clinic in record(run)["clinics"].items()}
    assert parts[1.0]["cleo"] == pytest.approx(200 / 264, abs=1e-5)
    assert parts[0.5] == pytest.approx({"anna": 0.25, "bert": 0.25, "cleo": 0.5}, abs=1e-5)
    assert_equal(models[0.5, masks], models[0.5, "off"])


def test_clinics_that_wait_at_the_hub_get_all_but_the_first_steps_there_and_make_the_same_bits(stage):
    run = stage(rounds=3)
    run.fleet.mailboxes, run.mailboxes.used = run.mailboxes, True
    assert run.go() == undisturbed(stage, rounds=3)
    assert {round_ for _, round_ in run.fleet.sent} == {1}
    assert all(w.trained == 3 for w in run.fleet.workloads.values())


def test_masked_model_is_the_same_bits_under_other_masks(stage):
    assert stage(clinics=5).go() == stage(clinics=5).go()


def test_hub_stores_no_single_update_and_no_norm_of_one(stage):
    run = stage()
    kept = []
    receive = run.uploads.collect
    run.uploads.collect = lambda path: kept.append((found := receive(path)).path.read_bytes()) or found
    run.go()
    sizes = {len(data) for data in kept}
    assert len(kept) == 6 and sizes == {4 * (LAYOUT.floats + 2)}
    spread = np.frombuffer(kept[0], RING).astype(float) / 2**32
    assert 0.35 < spread.mean() < 0.65 and spread.std() > 0.2  # as of random numbers
    for clinic in record(run)["clinics"].values():
        assert "norm" not in clinic and "distance" not in clinic and 0 < clinic["share"] < 1
    assert not list(run.run.folder.glob("*.masked")) and not list(run.run.folder.glob("*.mean"))


def test_clinics_shares_are_those_of_fednova(stage):
    plain, run = stage(masks="off", strategy="fednova"), stage(strategy="fednova")
    plain.go(), run.go()
    shares = [{n: c["share"] for n, c in record(each)["clinics"].items()} for each in (plain, run)]
    assert shares[1] == pytest.approx(shares[0], abs=1e-5)


def test_noise_is_in_the_mean_as_the_setting_has_it_and_no_other_after_a_hub_was_killed(stage):
    plain, run = stage(rounds=1, seed=1).go(), stage(rounds=1, seed=1, update_noise=0.5)
    run.fleet.fault = once("train", "cleo", what="killed")  # anna has sent hers, and makes it again
    with pytest.raises(Killed):
        run.go()
    pairs = [(a, b) for a, b in zip(numbers(run.go()), numbers(plain), strict=True) if a.dtype.kind == "f"]
    moved = np.concatenate([a.astype(float) - b for a, b in pairs])
    expected = 0.5 * record(run)["masking"]["bound"] * np.sqrt(3 / 2)  # three clinics, two of which have all of it
    assert 0.3 * expected < np.linalg.norm(moved) < 2 * expected


def test_noise_of_dp_epsilon_is_whole_when_a_clinic_has_gone_and_the_same_after_one_was_killed(stage):
    settings = {**PRIVATE, "dp_epsilon": 2, "rounds": 3, "seed": 1, "quorum": 3, "round_deadline_s": 0.5, "grace_s": 5}
    run, drawn, killed = stage(clinics=4, **settings), [], []
    draw = Policy.draw_noise

    def fault(kind, name, round_):
        if (kind, name, round_) == ("train", "bert", 1):  # after its letters
            return "gone"
        if (kind, name, round_) == ("train", "cleo", 2) and not killed:  # anna has sent hers
            return killed.append(name) or "killed"
        return None

    def noted(policy, request, *update):
        drawn.append((policy.name, request.round, draw(policy, request, *update)))
        return drawn[-1][-1]

    run.fleet.fault = fault
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Policy, "draw_noise", noted)
        with pytest.raises(Killed):
            run.go()
        run.fleet.handlers["anna"] = run.fleet.start("anna")
        run.go()
    assert record(run)["masking"]["survivors"] == ["anna", "cleo", "dora"]
    anna = [(round_, key) for name, round_, key in drawn if name == "anna"]
    assert len(anna) == 4 and anna[1] == anna[2] and len({key for _, key in anna}) == 3
    models = [numbers(run.checkpoints.at(number).packed().tobytes()) for number in (1, 2, 3)]
    moved = [b.astype(float) - a - 0.01 for old, new in pairwise(models) for a, b in zip(old, new, strict=True)]
    noise = np.concatenate([each for each in moved if each.size > 100])  # not the numbers of half precision
    patients = sum(EMBRYOS[name] for name in ("anna", "cleo", "dora"))
    whole = 5 / patients / run.run.settings.private_mu
    assert 0.9 * whole < noise.std() < 1.5 * whole  # three add noise, two of which have all of it
    for name in ("anna", "cleo", "dora"):
        assert spent(PrivacyLedger(run.fleet.state_dir(name)).read()) == pytest.approx(2, rel=1e-6)


# -- who drops out ----------------------------------------------------------------------------------------------------
def without(stage, names, **settings):
    """The model without masks of a round in which these clinics do not take part."""
    plain = stage(clinics=4, masks="off", rounds=1, **settings)
    plain.fleet.online -= set(names)
    return plain.go()


def test_sum_with_the_update_of_a_clinic_that_was_revoked_meanwhile_is_not_opened(stage):
    run, vectors = stage(clinics=4, rounds=1, quorum=3), []
    receive = run.uploads.collect

    def collect(path):
        vectors.append(path)
        if len(vectors) == 3:  # anna's and bert's are in the sum
            run.store.set_state("bert", "revoked", "its laptop was stolen")
        return receive(path)

    run.uploads.collect = collect
    assert_equal(run.go(), without(stage, ["bert"]))
    assert record(run)["masking"]["survivors"] == ["anna", "cleo", "dora"] and record(run)["masking"]["attempt"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "what", "survivors"),
    [
        ("keys", "gone", "anna cleo dora"),  # before its keys
        ("letters", "gone", "anna cleo dora"),  # before its letters
        ("letters", "restart", "anna cleo dora"),
        ("train", "gone", "anna cleo dora"),  # between letters and upload: its pairwise masks are taken out
        ("train", "restart", "anna cleo dora"),
        ("survivors", "gone", "anna bert cleo dora"),  # after its upload
        ("shares", "gone", "anna bert cleo dora"),
    ],
)
def test_one_of_four_clinics_that_drops_out_costs_no_round(stage, kind, what, survivors):
    run = stage(clinics=4, rounds=1, round_deadline_s=2, grace_s=5)
    run.fleet.fault = once(kind, "bert", what=what)
    model = run.go()
    assert record(run)["masking"]["survivors"] == survivors.split()
    assert record(run)["masking"]["attempt"] == 1
    if what == "restart" or kind in ("survivors", "shares"):
        assert missed(run) == {"bert"}
    assert_equal(model, without(stage, set(run.fleet.names) - set(survivors.split())))


def missed(run: Any) -> set[str]:
    """Clinics that missed steps, of a run in which no update was refused."""
    assert "refused" not in [e["kind"] for e in events(run.run)]
    assert "update_refused" not in [event for event, _ in run.audit]
    return {e["clinic"] for e in events(run.run) if e["kind"] == "step_missed"}


@pytest.mark.parametrize("kind", ["letters", "train"])
def test_one_of_three_that_restarts_costs_an_attempt_and_nobody_else_trains_again(stage, kind):
    run = stage(rounds=1)
    run.fleet.fault = once(kind, "bert", what="restart")
    assert run.go() == undisturbed(stage, rounds=1)
    assert record(run)["masking"]["attempt"] == 2
    assert [e["attempt"] for e in events(run.run) if e["kind"] == "attempt_failed"] == [1]
    assert missed(run) == {"bert"}
    assert [run.fleet.workloads[name].trained for name in run.fleet.names] == [1, 1, 1]


def test_one_of_three_that_is_lost_is_waited_for_by_name_and_the_run_goes_on_when_it_is_back(stage):
    run = stage(rounds=2, round_deadline_s=0.3, grace_s=0.1, join_wait_s=0.4)
    run.fleet.fault = once("train", "bert", 2, what="gone")
    with pytest.raises(UserError, match=r"2 of at least 3 clinics are online .*missing: bert"):
        run.go()
    (waiting,) = [e for e in events(run.run) if e["kind"] == "waiting"]
    assert (waiting["round"], waiting["missing"]) == (2, ["bert"])
    run.fleet.online.add("bert")
    run.go()
    assert [record(run, number)["masking"]["survivors"] for number in (1, 2)] == 2 * [["anna", "bert", "cleo"]]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["survivors", "shares"])
@pytest.mark.parametrize("who", ["anna", "cleo"])
def test_clinic_of_three_that_restarts_after_its_upload_costs_an_attempt_at_the_same_sum(stage, kind, who):
    run = stage(rounds=2)
    run.fleet.fault = once(kind, who, 1, what="restart")
    assert run.go() == undisturbed(stage, rounds=2)
    assert record(run)["masking"]["attempt"] == 2
    assert [e["attempt"] for e in events(run.run) if e["kind"] == "attempt_failed"] == [1]
    assert missed(run) == {who}


@pytest.mark.parametrize("kind", ["survivors", "shares"])
def test_round_without_enough_shares_is_void_and_the_next_one_goes_on(stage, kind):
    run = stage(clinics=4, rounds=2, round_deadline_s=0.4, grace_s=0.2)
    left = {("letters", "dora"), (kind, "cleo")}

    def fault(kind, name, number):
        """Dora is not in the sum and cleo has lost her keys: the same sum cannot be made again."""
        if number == 1 and (kind, name) in left:
            left.remove((kind, name))
            return "restart"
        return None

    run.fleet.fault = fault
    run.go()
    void = record(run, 1)
    assert void["void"].startswith("Round 1: 2 usable replies") and void["clinics"] == {}
    assert void["sha256"] == record(run, 0)["sha256"] != record(run, 2)["sha256"]
    assert any(e["kind"] == "void" and e["round"] == 1 for e in events(run.run))
    assert record(run, 2)["masking"]["survivors"] == void["void_sum"] == ["anna", "bert", "cleo"]
    assert not list(run.run.folder.glob("*.masked"))


def test_run_of_void_rounds_fails_with_the_reason(stage):
    run = stage(rounds=9, round_deadline_s=0.3, grace_s=0.1)
    run.fleet.fault = lambda kind, name, number: "restart" if (kind, name) == ("shares", "cleo") else None
    with pytest.raises(UserError, match="3 rounds in a row are void"):
        run.go()


@pytest.mark.slow
def test_lost_messages_change_nothing(stage):
    for kind in ("keys", "letters", "train", "survivors", "shares"):
        run = stage(rounds=1)
        run.fleet.fault = once(kind, "bert", what="superlink")
        assert run.go() == undisturbed(stage, rounds=1)
        assert record(run)["masking"]["attempt"] == 1


def test_clinic_that_has_not_compared_keys_holds_the_round_until_it_has(stage):
    run = stage(rounds=1)
    policy, asked = run.fleet.state_dir("bert") / "policy.toml", []
    policy.write_text("min_examples = 1\n")

    def fault(kind, name, number):
        if (kind, name) == ("keys", "bert"):
            asked.append(run.progress.snapshot()["phase"])
            if len(asked) == 2:
                policy.write_text('min_examples = 1\npeers = "first"\n')

    run.fleet.fault = fault
    run.go()
    failed = [e for e in events(run.run) if e["kind"] == "attempt_failed"]
    assert len(failed) == 1 and len(asked) == 2
    refused = [e for e in events(run.run) if e["kind"] == "refused"]
    assert "keys of anna, cleo have not been compared" in refused[0]["words"]
