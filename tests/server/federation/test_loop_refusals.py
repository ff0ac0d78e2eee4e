"""Updates that are too long, rejections in a row, suspension: the round loop with stand-ins for clinics."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from embryofl_server.federation.fleet import RawReply
from embryofl_server.federation.run_context import RunFailed
from kits.rounds import NAMES, always, events, once


def test_update_far_longer_than_the_others_is_rejected_when_the_round_closes(stage):
    staged = stage(rounds=1, quorum=2)
    staged.fleet.fault = once("reply", "anna", 1, "far")  # first by name, and first to reply
    staged.go()
    record = staged.checkpoints.records()[1]
    assert record["refused"] == {"anna": "norm"} and set(record["clinics"]) == {"bert", "cleo"}
    (event,) = [e for e in events(staged.run) if e["kind"] == "refused"]
    assert "median" in event["words"] and "norm_bound" in event["words"]
    assert list(staged.uploads._folder.iterdir()) == []


def test_rejected_update_does_not_count_in_the_model(stage, layout, packed):
    staged = stage(rounds=1, quorum=2)
    staged.fleet.fault = once("reply", "anna", 1, "far")
    model = layout.tensor_views(np.frombuffer(staged.go(), np.uint8))["w"]
    others = [layout.tensor_views(packed(NAMES.index(n) + 10))["w"].astype(float) for n in ("bert", "cleo")]
    assert np.array_equal(model, ((others[0] * 20 + others[1] * 20) / 40).astype(np.float32))


def test_long_update_is_clipped(stage):
    staged = stage(rounds=1, norm_clip=2, norm_bound=0)
    staged.fleet.fault = once("reply", "anna", 1, "far")
    staged.go()
    record = staged.checkpoints.records()[1]
    norms = sorted(c["norm"] for c in record["clinics"].values())
    assert record["clinics"]["anna"]["scale"] == pytest.approx(2 * norms[1] / norms[2])
    assert "scale" not in record["clinics"]["bert"] and record["refused"] == {}


def test_clinic_with_rejections_in_a_row_is_suspended_and_the_run_continues(stage):
    staged = stage(rounds=5, min_clinics=2, quorum=2, suspend_after=2)
    staged.fleet.fault = always("bert", "nan")
    staged.go()
    assert [r["refused"] for r in staged.checkpoints.records()[1:]] == [{"bert": "not_finite"}] * 2 + [{}] * 3
    clinic = staged.store.clinics()["bert"]
    assert clinic.state == "suspended" and "2 replies in a row" in clinic.reason and "not finite" in clinic.reason
    assert {n: c.state for n, c in staged.store.clinics().items() if n != "bert"} == {
        "anna": "enrolled",
        "cleo": "enrolled",
    }
    assert ("bert", 3) not in staged.fleet.sent


def test_clinic_that_leaves_before_it_is_suspended_does_not_end_the_run(stage):
    staged = stage(rounds=3, quorum=2, suspend_after=1, min_clinics=2)

    def fault(kind: str, name: str, round_: int) -> Any:
        if kind == "reply" and name == "bert" and round_ == 1:
            staged.store.set_state("bert", "left", "The clinic left")
            return "nan"
        return None

    staged.fleet.fault = fault
    staged.go()
    assert [set(r["clinics"]) for r in staged.checkpoints.records()[1:]] == [{"anna", "cleo"}] * 3


def test_good_reply_resets_the_count_of_rejections(stage):
    staged = stage(rounds=5, min_clinics=2, quorum=2, suspend_after=2)
    staged.fleet.fault = lambda kind, name, r: "nan" if kind == "reply" and name == "bert" and r in (1, 3, 5) else None
    staged.go()
    assert staged.store.clinics()["bert"].state == "enrolled"


@pytest.mark.parametrize("what", ["refuse", "error", "silent"])
def test_missing_blocked_or_failed_reply_does_not_suspend_the_clinic(stage, what):
    staged = stage(rounds=4, min_clinics=2, quorum=2, suspend_after=2, round_deadline_s=0.2)
    reply = staged.fleet.reply
    staged.fleet.reply = lambda m, request, kind: (
        RawReply(m, error="ValueError") if kind == "error" else reply(m, request, kind)
    )
    staged.fleet.fault = always("bert", what)
    staged.go()
    assert staged.store.clinics()["bert"].state == "enrolled"


def test_run_short_of_clinics_names_the_suspended_ones(stage):
    staged = stage(rounds=5, quorum=2, suspend_after=1, join_wait_s=0.2)
    staged.fleet.fault = always("bert", "nan")
    with pytest.raises(RunFailed, match="2 of at least 3 clinics are online; suspended: bert"):
        staged.go()


def test_clinic_suspended_during_a_round_is_not_waited_for(stage):
    staged = stage(rounds=1, min_clinics=2, quorum=2)

    def fault(kind: str, name: str, round_: int) -> Any:
        if kind == "reply" and name == "bert":
            staged.store.set_state("bert", "suspended", "by hand")
            return "silent"
        return None

    staged.fleet.fault = fault
    staged.go()
    assert staged.checkpoints.records()[1]["refused"] == {"bert": "suspended"}


def _rejoin(store: Any) -> None:
    store.set_state("bert", "revoked", "its laptop was stolen")
    store.enrol("bert", store.invite("bert", 1), "key-new", "quality", {})


GONE: dict[str, Callable[[Any], object]] = {
    "revoked": lambda store: store.set_state("bert", "revoked", "its laptop was stolen"),
    "suspended": lambda store: store.set_state("bert", "suspended", "by hand"),
    "left": lambda store: store.set_state("bert", "left", "The clinic left"),
    "joined with another key": _rejoin,
}


def _after_its_reply(staged: Any, how: str) -> None:
    """`how` bert goes once the hub has accepted its reply, while the hub waits for cleo."""
    show = staged.progress.clinic

    def shown(name: str, state: str, *words: str) -> None:
        show(name, state, *words)
        if (name, state) == ("bert", "done"):
            GONE[how](staged.store)

    staged.progress.clinic = shown
    staged.fleet.fault = always("cleo", "silent")


@pytest.mark.parametrize("how", GONE)
def test_update_of_a_clinic_that_was_revoked_after_its_reply_does_not_count(stage, how, layout, packed):
    staged = stage(rounds=1, min_clinics=2, quorum=1, round_deadline_s=0.5, closing_evaluation=False)
    _after_its_reply(staged, how)
    model = layout.tensor_views(np.frombuffer(staged.go(), np.uint8))["w"]
    assert np.array_equal(model, layout.tensor_views(packed(NAMES.index("anna") + 10))["w"])
    assert staged.checkpoints.records()[1]["refused"] == {"bert": "suspended", "cleo": "late"}
    assert list(staged.uploads._folder.iterdir()) == []


def test_clinic_that_was_revoked_after_its_reply_is_not_part_of_the_quorum(stage):
    staged = stage(rounds=1, quorum=2, round_deadline_s=0.5, grace_s=0.1, closing_evaluation=False)
    _after_its_reply(staged, "revoked")
    with pytest.raises(RunFailed, match="1 usable replies"):
        staged.go()


def test_quorum_is_at_least_the_updates_that_the_strategy_needs(stage):
    staged = stage(rounds=1, strategy="median", quorum=2)
    staged.fleet.fault = always("bert", "nan")
    with pytest.raises(RunFailed, match="the quorum is 3"):
        staged.go()
