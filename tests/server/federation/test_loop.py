"""The round loop with stand-ins for SuperLink and clinics: lost requests are sent again, wrong replies are rejected."""

import time
from typing import Any

import numpy as np
import pytest

from embryofl.messages import Request
from embryofl_server.federation import exchange as module
from embryofl_server.federation.fleet import RawReply
from embryofl_server.federation.run_context import RunFailed
from embryofl_server.runs.view import RunView
from kits.rounds import NAMES, once


def test_undisturbed_run_completes_all_rounds(stage, layout):
    staged = stage()
    model = np.frombuffer(staged.go(), np.uint8)
    layout.check(model)
    assert staged.run.state["state"] == "running" and staged.run.state["round"] == 3
    assert [r["round"] for r in staged.checkpoints.records()] == [0, 1, 2, 3]
    assert staged.fleet.sent == [(n, r) for r in (1, 2, 3) for n in NAMES] + [(n, 3) for n in NAMES]
    assert list(staged.uploads._folder.iterdir()) == []


@pytest.mark.parametrize("where", ["send", "poll"])
@pytest.mark.parametrize("number", [1, 2])
def test_lost_superlink_does_not_change_the_model(stage, where, number):
    expected = stage().go()
    staged = stage()
    staged.fleet.fault = once(where, "bert" if where == "send" else "", number if where == "send" else 0)
    before = staged.fleet.recovered
    assert staged.go() == expected
    assert staged.fleet.recovered == before + 2  # at the start, and once more


def test_restarted_clinic_is_sent_its_lost_request_again(stage):
    expected = stage().go()
    staged = stage()
    silent = once("reply", "bert", 2, "silent")

    def fault(kind: str, name: str, round_: int) -> Any:
        what = silent(kind, name, round_)
        if what:
            staged.fleet.activated["bert"] += 1  # it restarted
        return what

    staged.fleet.fault = fault
    assert staged.go() == expected
    assert staged.fleet.sent.count(("bert", 2)) == 3  # once in the undisturbed run, twice in this one


def test_clinic_that_reports_being_idle_is_sent_its_request_again(stage, monkeypatch):
    """The request was delivered and lost with the gateway; the clinic's session continues."""
    monkeypatch.setattr(module, "UNHEARD_S", 0.05)
    expected = stage().go()
    staged = stage()
    silent = once("reply", "bert", 2, "silent")

    def fault(kind: str, name: str, round_: int) -> Any:
        what = silent(kind, name, round_)
        if what:
            staged.idle["bert"] = time.time() + 0.1
        return what

    staged.fleet.fault = fault
    assert staged.go() == expected
    assert staged.fleet.sent.count(("bert", 2)) == 3  # once in the undisturbed run, twice in this one


def test_error_that_the_superlink_reports_for_a_clinic_is_not_its_reply(stage):
    expected = stage().go()
    staged = stage()
    staged.fleet.fault = once("reply", "cleo", 1, "lost")
    reply = staged.fleet.reply

    def lost(message: str, request: Request, what: Any) -> RawReply:
        return RawReply(message, error="unavailable", lost=True) if what == "lost" else reply(message, request, what)

    staged.fleet.reply = lost
    assert staged.go() == expected


@pytest.mark.parametrize(
    ("what", "reason"), [("refuse", "clinic_refused"), ("nan", "not_finite"), ("error", "clinic_error")]
)
def test_unusable_reply_is_rejected_with_its_reason(stage, what, reason):
    staged = stage(quorum=2, rounds=1)
    reply = staged.fleet.reply

    def wrong(message: str, request: Request, kind: Any) -> RawReply:
        return RawReply(message, error="ValueError") if kind == "error" else reply(message, request, kind)

    staged.fleet.reply = wrong
    staged.fleet.fault = once("reply", "bert", 1, what)
    staged.go()
    record = staged.checkpoints.records()[1]
    assert record["refused"] == {"bert": reason} and set(record["clinics"]) == {"anna", "cleo"}
    assert ("update_refused", {"run": staged.run.name, "round": 1, "clinic": "bert", "reason": reason}) in staged.audit
    assert list(staged.uploads._folder.iterdir()) == []


def test_run_without_a_quorum_fails_with_the_reason(stage):
    staged = stage(rounds=2)
    staged.fleet.fault = once("reply", "bert", 2, "nan")
    with pytest.raises(RunFailed, match="Round 2: 2 usable replies.*quorum is 3"):
        staged.go()
    assert staged.run.state["round"] == 1 and staged.checkpoints.latest().round == 1


def test_quorum_is_enough_at_the_deadline(stage):
    staged = stage(rounds=1, quorum=2, round_deadline_s=0.3)
    staged.fleet.fault = once("reply", "bert", 1, "silent")
    staged.go()
    assert staged.checkpoints.records()[1]["refused"] == {"bert": "late"}


def test_run_fails_after_deadline_and_grace_period_and_names_the_missing_clinics(stage):
    staged = stage(rounds=1, round_deadline_s=0.1, grace_s=0.2)
    staged.fleet.fault = once("reply", "bert", 1, "silent")
    with pytest.raises(RunFailed, match="missing: bert"):
        staged.go()


def test_run_with_too_few_clinics_waits_and_then_names_the_missing_ones(stage):
    staged = stage(join_wait_s=0.2)
    staged.fleet.online = {"anna"}
    with pytest.raises(RunFailed, match="1 of at least 3.*bert, cleo"):
        staged.go()
    assert staged.run.state["state"] == "waiting"


def test_resumed_run_reports_the_round_of_its_checkpoint(stage):
    """Killed between a round's checkpoint and its state: the state is one behind, the checkpoint is what counts."""
    staged = stage()
    expected = staged.go()
    staged.run.set_state("running", 2)
    assert staged.go() == expected
    assert staged.run.state["round"] == 3
    lines = [(x["round"], x["clinic"], x["split"], x["day"]) for x in RunView(staged.run).lines()]
    assert len(set(lines)) == len(lines)


def test_run_resumed_after_a_damaged_checkpoint_gives_the_same_model(stage):
    staged = stage()
    expected = staged.go()
    for number in (3, 2):
        staged.checkpoints.weights_path(number).write_bytes(b"damaged")
    assert staged.go() == expected
