"""Rounds with groups: one sum of each, a median of their means, the same bits whatever is killed, and no other groups."""

import numpy as np
import pytest

from embryofl.errors import UserError
from embryofl.membership import METRICS
from embryofl.messages import round_seed
from embryofl.secagg.clinic import ClinicSession
from embryofl.secagg.groups import draw
from embryofl_server.federation.masking import rounds as module
from embryofl_server.federation.masking.groups import RunGroups
from embryofl_server.federation.run_settings import check_settings
from embryofl_server.runs.view import RunView
from kits.masked_rounds import EMBRYOS, LEAST, Killed, masked_stages
from kits.policy import write_policy
from kits.rounds import LAYOUT, events, once

pytestmark = pytest.mark.integration

SEED = 1


@pytest.fixture
def stage(tmp_path, packed, monkeypatch):
    """`stage(clinics, **settings)`: a run in groups ready to be executed."""
    monkeypatch.setattr(module, "RETRY_FIRST_S", 0.05)
    with masked_stages(tmp_path, packed, monkeypatch) as ready:

        def make(clinics=9, metrics="own", **settings):
            names = list(EMBRYOS)[:clinics]
            values = {
                "rounds": 2,
                "min_clinics": clinics,
                "secure_aggregation": "required",
                "strategy": "fedavg",
                "seed": SEED,
            }
            staged = ready(names, check_settings(values | LEAST | settings).model_dump(), metrics)
            for name in names:
                staged.store.set_choices(name, {METRICS: metrics})
            return staged

        yield make


def record(run, number=1):
    return run.checkpoints.at(number).record


def groups_of(run, number=1):
    return [tuple(group) for group in record(run, number)["masking"]["groups"]]


def kinds(run, kind):
    return [e for e in events(run.run) if e["kind"] == kind]


def drawn(clinics=9):
    return draw(SEED, {name: EMBRYOS[name] for name in list(EMBRYOS)[:clinics]})


def group_means(groups, number=1):
    """What the clinics of the kit add to the model, as the mean of each group, float64 (groups, floats)."""

    def moved(name):
        rng = np.random.default_rng(round_seed(7, number, name))
        views = LAYOUT.section_views(LAYOUT.empty())
        parts = [0.1 * rng.standard_normal(view.size) for view in views if view.dtype.kind == "f"]
        return np.concatenate(parts)

    return [np.average([moved(n) for n in g], axis=0, weights=[EMBRYOS[n] for n in g]) for g in groups]


def floats(model):
    views = LAYOUT.section_views(np.frombuffer(model, np.uint8))
    return np.concatenate([v.astype(float) for v in views if v.dtype.kind == "f"])


def assert_moved(run, model, expected):
    before = floats(run.checkpoints.at(0).packed().tobytes())
    assert np.allclose(floats(model) - before, expected, atol=8e-3)  # half precision has three digits


# -- the same groups, and their median --------------------------------------------------------------------------------
def test_nine_clinics_have_three_sums_and_the_model_moves_by_the_median_of_their_means(stage):
    run = stage(rounds=1)
    model = run.go()
    groups = groups_of(run)
    assert groups == [*drawn()] and {len(g) for g in groups} == {3}
    means = group_means(groups)
    assert_moved(run, model, np.median(means, axis=0))
    assert np.linalg.norm(np.median(means, axis=0) - np.mean(means, axis=0)) > 0.1
    assert record(run)["masking"]["survivors"] == sorted(run.fleet.names)
    assert not list(run.run.folder.glob("*.mean")) and not list(run.run.folder.glob("*.masked"))


def test_groups_are_the_same_in_the_whole_run_and_in_one_that_is_repeated(stage):
    run, again = stage(rounds=3), stage(rounds=3)
    assert run.go() == again.go()
    assert groups_of(run, 1) == groups_of(run, 2) == groups_of(run, 3) == groups_of(again, 3)


@pytest.mark.parametrize("settings", [{"clinics": 8}, {"groups": "off"}], ids=str)
def test_fewer_clinics_and_a_run_that_wants_none_have_one_sum(stage, settings):
    run = stage(rounds=1, **settings)
    run.go()
    assert "groups" not in record(run)["masking"] and not (run.run.folder / "groups.json").exists()
    assert record(run)["masking"]["survivors"] == sorted(run.fleet.names)


def test_strategies_that_compare_updates_compare_the_means_of_groups(stage):
    by_median = stage(rounds=1, strategy="median")
    model = by_median.go()
    assert_moved(by_median, model, np.median(group_means(drawn()), axis=0))
    for strategy in ("trimmed_mean", "geometric_median"):
        run = stage(rounds=1, strategy=strategy)
        run.go()
        assert groups_of(run) == [*drawn()]


def test_metrics_have_one_sum_of_all(stage):
    run = stage(rounds=1, metrics="pooled")
    run.go()
    assert groups_of(run) == [*drawn()] and run.message == ""
    assert RunView(run.run).model()["pooled"]["clinics"] == sorted(run.fleet.names)


# -- who is killed or lost --------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "number"),
    [("keys", 1), ("letters", 1), ("train", 1), ("survivors", 1), ("shares", 1), ("letters", 2), ("shares", 2)],
)
def test_hub_killed_in_any_phase_ends_in_the_same_bits(stage, kind, number):
    undisturbed, run = stage().go(), stage()
    run.fleet.fault = once(kind, "hugo", number, what="killed")
    with pytest.raises(Killed):
        run.go()
    assert run.go() == undisturbed
    assert groups_of(run, 1) == groups_of(run, 2) == [*drawn()]


def test_clinic_that_comes_after_the_draw_waits_for_the_next_run_also_where_the_hub_was_killed(stage):
    undisturbed, run = stage(rounds=1).go(), stage(clinics=10, min_clinics=9, rounds=1)
    late = run.fleet.names[-1]
    run.fleet.online.discard(late)
    run.fleet.fault = once("train", what="killed")
    with pytest.raises(Killed):
        run.go()
    run.fleet.online.add(late)
    assert run.go() == undisturbed and groups_of(run) == [*drawn()]
    (event,) = kinds(run, "no_group")
    assert event["clinics"] == [late] and "wait for the next run" in event["words"]


@pytest.mark.parametrize("kind", ["letters", "train", "survivors", "shares"])
def test_clinic_of_nine_that_restarts_costs_an_attempt_at_the_same_groups(stage, kind):
    undisturbed, run = stage(rounds=1).go(), stage(rounds=1)
    run.fleet.fault = once(kind, "cleo", what="restart")
    assert run.go() == undisturbed
    assert record(run)["masking"]["attempt"] == 2 and len(kinds(run, "attempt_failed")) == 1


def lost(run, name, kind="train"):
    run.fleet.fault = lambda k, n, r: "silent" if (k, n) == (kind, name) else None


@pytest.mark.parametrize("kind", ["keys", "letters", "train", "survivors"])
def test_group_that_cannot_close_is_left_out_and_named_where_three_others_can(stage, kind):
    run = stage(clinics=13, quorum=9, rounds=1, round_deadline_s=1.5, grace_s=20)
    groups = drawn(13)
    group = next(g for g in groups if len(g) == 3)
    shown = {}

    def show(k, n, r):
        if k == "shares":
            shown.update(run.progress.snapshot()["clinics"])
        return "silent" if (k, n) == (kind, group[1]) else None

    run.fleet.fault = show
    if kind == "keys":  # it has sent them in the first round, in which groups are drawn
        RunGroups(run.run).draw({name: EMBRYOS[name] for name in run.fleet.names})
    model = run.go()
    others = [g for g in groups if g != group]
    assert groups_of(run) == others
    assert_moved(run, model, np.median(group_means(others), axis=0))
    (event,) = kinds(run, "left_out")
    assert set(event["clinics"]) == set(group) == set(record(run)["masking"]["left_out"])
    assert "2 " in event["words"] and "expected at least 3" in event["words"]
    assert {shown[name]["detail"] for name in group} == {event["words"]}  # in the status meanwhile


def test_group_of_four_loses_one_clinic_and_stays(stage):
    run = stage(clinics=12, quorum=9, rounds=1, round_deadline_s=1.5, grace_s=20)
    gone = drawn(12)[0][2]
    lost(run, gone)
    run.go()
    assert groups_of(run) == [tuple(n for n in g if n != gone) for g in drawn(12)]
    assert record(run)["masking"]["left_out"] == {}


def test_round_of_nine_without_one_of_them_does_not_go_on_with_two_groups(stage):
    run = stage(quorum=3, rounds=1, round_deadline_s=0.3, grace_s=0.2, join_wait_s=0.5)
    lost(run, "cleo")
    with pytest.raises(UserError, match="6 usable replies .*the quorum is 9.*attempt 5"):
        run.go()


# -- who lies -----------------------------------------------------------------------------------------------------------
def spoil(monkeypatch, name, numbers):
    """This clinic's vector is far beyond the bound."""
    real = ClinicSession.mask

    def mask(session, vector, *args):
        if session.advert.clinic == name:
            vector[numbers] = 2**30
        return real(session, vector, *args)

    monkeypatch.setattr(ClinicSession, "mask", mask)


@pytest.mark.parametrize(("numbers", "words"), [(slice(100), "has the norm"), (-1, "alarms of 3 clinics add up")])
def test_group_whose_sum_breaks_the_rules_is_left_out_and_with_nine_clinics_makes_the_round_void(
    stage, monkeypatch, numbers, words
):
    group = next(g for g in drawn(13) if len(g) == 3)
    spoil(monkeypatch, group[0], numbers)
    run = stage(clinics=13, rounds=1)
    run.go()
    assert groups_of(run) == [g for g in drawn(13) if g != group]
    (event,) = kinds(run, "left_out")
    assert event["clinics"] == [*group] and words in event["words"]
    spoil(monkeypatch, "anna", numbers)
    nine = stage(rounds=1)
    nine.go()
    assert words in record(nine)["void"] and record(nine)["sha256"] == record(nine, 0)["sha256"]


def test_clinic_that_poisons_every_round_is_outvoted_by_the_other_groups(stage):
    moved = {}
    for groups in ("auto", "off"):
        run = stage(groups=groups, alarms=False)
        run.fleet.workloads["anna"].poisons = {1, 2}
        after = LAYOUT.tensor_views(np.frombuffer(run.go(), np.uint8))["b"][0]
        before = LAYOUT.tensor_views(run.checkpoints.at(0).packed())["b"][0]
        moved[groups] = float(after - before)
    assert abs(moved["auto"]) < 0.3 and moved["off"] > 0.5


def test_alarms_add_up_over_groups_and_bring_the_model_before_back(stage):
    run = stage(rounds=4)
    for name in run.fleet.names[:6]:
        run.fleet.workloads[name].poisons = {2}
    run.go()
    voted = record(run, 3)
    assert voted["masking"]["alarms"] == 9 and voted["back_to"] == 1
    assert "9 of 9 clinics find the model of round 2 worse" in voted["void"]
    assert groups_of(run, 4) == [*drawn()] and "void" not in record(run, 4)


def changed(request, **parts):
    return request.model_copy(update={"masking": request.masking.model_copy(update=parts)})


def other_draw(request):
    """The hub draws again in round 2, for sums that overlap with those of round 1."""
    return changed(request, roster=request.masking.roster.model_copy(update={"drawn": WEIGHTS | {"anna": 65}}))


def no_groups(request):
    return changed(request, roster=request.masking.roster.model_copy(update={"drawn": {}}))


WEIGHTS = {name: EMBRYOS[name] for name in list(EMBRYOS)[:9]}


@pytest.mark.parametrize(
    ("lie", "number", "words"),
    [
        (other_draw, 2, "other groups than in round 1 of run-0001, expected the same in the whole run"),
        (other_draw, 1, "expected clinics of the group of bert as the run's seed draws it"),
        (no_groups, 1, "a roster without groups, expected what the run's settings say"),
    ],
)
def test_hub_that_draws_again_or_gives_a_clinic_another_roster_is_refused_and_no_model_is_made(
    stage, lie, number, words
):
    run = stage(round_deadline_s=0.4, grace_s=0.2, join_wait_s=0.5)

    def lies(request):
        return lie(request) if (request.kind, request.round) == ("letters", number) else request

    run.fleet.lie = lies
    with pytest.raises(UserError):
        run.go()
    assert run.checkpoints.at(number) is None
    assert any(name == "bert" and words in refusal for name, refusal in run.fleet.refusals), run.fleet.refusals


# -- policies -------------------------------------------------------------------------------------------------------------
def test_clinic_that_wants_larger_sums_declines_before_the_draw_and_says_what_to_do(stage):
    run = stage(clinics=10, min_clinics=9, rounds=1)
    picky = run.fleet.names[-1]
    write_policy(run.fleet.state_dir(picky), min_examples=1, metrics="own", min_sum=4)
    run.go()
    assert groups_of(run) == [*drawn()]
    (refused,) = kinds(run, "refused")
    assert refused["clinic"] == picky and "groups=off" in refused["words"]
