"""The clinic's policy applies to every request, whatever the hub sends."""

import datetime

import pytest

from embryofl.errors import UserError
from embryofl.messages import Reply
from embryofl.settings import RunSettings
from embryofl_clinic.policy import rules as module
from embryofl_clinic.policy.rules import Policy, last_block, load_rules
from kits.policy import write_policy


@pytest.fixture
def make_policy(tmp_path):
    def make(meaning="quality", **rules):
        write_policy(tmp_path, **rules)
        return Policy(tmp_path, meaning, "anna")

    return make


def test_ordinary_request_is_not_blocked(make_policy, make_request):
    assert make_policy().reason_to_block(make_request(), 100) == ""


def test_without_a_policy_no_update_leaves_without_masks_and_no_metrics_of_a_round(tmp_path, make_request):
    policy = Policy(tmp_path, "quality", "anna")
    assert "only sends masked updates" in policy.reason_to_block(make_request())
    for kind in ("validate", "evaluate"):
        assert "does not evaluate single rounds" in policy.reason_to_block(make_request(kind=kind, upload_url=""))


@pytest.mark.parametrize(
    ("settings", "change", "examples", "words"),
    [
        ({}, {"clinic": "bert"}, None, "bert"),
        ({"meaning": "implantation"}, {}, None, "implantation"),
        ({}, {"settings": RunSettings(meaning="live_birth")}, None, "live_birth"),
        ({"min_examples": 51}, {}, 50, "51"),
        (
            {"min_update_noise": 0.2},
            {"settings": RunSettings(update_noise=0.3)},
            50,
            "update_noise of 0.2 at least, and this run has 0",
        ),
        ({"require_dp": True}, {}, 50, "differential privacy"),
        ({"require_dp": True}, {"kind": "evaluate", "upload_url": ""}, None, "differential privacy"),
        (
            {"models": ["resnet18", "lite0_head"]},
            {"settings": RunSettings(model="small_cnn")},
            None,
            "resnet18, lite0_head",
        ),
    ],
)
def test_request_that_breaks_a_rule_is_blocked_with_the_rule(
    make_policy, make_request, settings, change, examples, words
):
    assert words in make_policy(**settings).reason_to_block(make_request(**change), examples)


def test_reason_to_block_does_not_reveal_the_number_of_embryos(make_policy, make_request):
    assert "37" not in make_policy(min_examples=50).reason_to_block(make_request(), 37)


def test_rounds_a_day_are_counted_across_restarts_and_reset_each_day(make_policy, make_request, monkeypatch):
    for _ in range(2):
        policy = make_policy(max_rounds_a_day=2)
        assert policy.reason_to_block(make_request()) == ""
        policy.count_round()
    policy = make_policy(max_rounds_a_day=2)
    assert "2 rounds a day" in policy.reason_to_block(make_request())
    assert policy.reason_to_block(make_request(kind="evaluate", upload_url="")) == ""
    tomorrow = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)).date().isoformat()
    monkeypatch.setattr(module, "today", lambda: tomorrow)
    assert policy.reason_to_block(make_request()) == ""


@pytest.mark.parametrize(
    ("hours", "quiet", "loud"),
    [
        ("22:00-06:00", ["22:00", "23:59", "00:00", "05:59"], ["06:00", "21:59", "12:00"]),
        ("08:30-17:00", ["08:30", "16:59"], ["08:29", "17:00", "00:00"]),
        ("", [], ["00:00", "12:00"]),
    ],
)
def test_quiet_hours_block_training_and_evaluation(make_policy, make_request, monkeypatch, hours, quiet, loud):
    policy = make_policy(quiet_hours=hours)

    class At(datetime.datetime):
        clock = ""

        @classmethod
        def now(cls, tz=None):
            return cls.fromisoformat(f"2026-01-31T{cls.clock}").replace(tzinfo=tz)

    monkeypatch.setattr(module.datetime, "datetime", At)
    for kind in ("train", "evaluate"):
        for At.clock in quiet:
            assert "quiet hours" in policy.reason_to_block(make_request(kind=kind))
        for At.clock in loud:
            assert policy.reason_to_block(make_request(kind=kind)) == ""


@pytest.mark.parametrize(
    "text", ["min_examples = 0", "max_rounds = 3", "quiet_hours = '25:00-6'", "quiet_hours = '8'", "= ="]
)
def test_unreadable_policy_blocks_everything(make_policy, make_request, tmp_path, text):
    policy = make_policy()
    (tmp_path / "policy.toml").write_text(text)
    assert "policy cannot be read" in policy.reason_to_block(make_request())
    with pytest.raises(UserError, match="every request is blocked"):
        load_rules(tmp_path)


def test_changed_policy_applies_to_the_next_request_and_a_block_is_recorded(make_policy, make_request, tmp_path):
    policy = make_policy()
    assert policy.reason_to_block(make_request()) == "" and last_block(tmp_path) == {}
    write_policy(tmp_path, models=["resnet18"])
    words = policy.reason_to_block(make_request(round=7))
    assert last_block(tmp_path)["words"] == words and last_block(tmp_path)["round"] == 7


def test_block_reaches_the_hub_with_its_reason_and_nothing_is_computed(clinic, make_request, tmp_path):
    anna = clinic()
    write_policy(tmp_path / "state", min_examples=51)
    anna.receive(make_request())
    reply = Reply.model_validate_json(anna.link.replies[0])
    assert "fewer than 51" in reply.refused and reply.update is None and reply.validation is None
    assert anna.workload.trained == 0 and anna.transfers.downloads == 0


def test_repeated_request_counts_as_one_round(clinic, make_request, tmp_path):
    anna = clinic()
    write_policy(tmp_path / "state", max_rounds_a_day=2)
    for _ in range(3):
        anna.receive(make_request())
    anna.receive(make_request(round=2))
    assert Reply.model_validate_json(anna.link.replies[-1]).refused == ""
    anna.receive(make_request(round=3))
    assert "a day" in Reply.model_validate_json(anna.link.replies[-1]).refused
