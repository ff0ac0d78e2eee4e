"""The clinic's own rules hold whatever the hub asks."""

import datetime

import pytest

from embryofl.messages import Reply, RunSettings
from embryofl_clinic import policy as module
from embryofl_clinic.policy import Policy
from embryofl_clinic.settings import ClinicSettings


@pytest.fixture
def policy(tmp_path):
    return lambda **settings: Policy(ClinicSettings(state_dir=tmp_path, **settings), "anna")


def test_an_ordinary_request_meets_no_objection(policy, make_request):
    assert policy().objection(make_request(), 100) == ""


@pytest.mark.parametrize(
    ("settings", "change", "examples", "words"),
    [
        ({}, {"clinic": "bert"}, None, "bert"),
        ({"meaning": "implantation"}, {}, None, "implantation"),
        ({}, {"settings": RunSettings(meaning="live_birth")}, None, "live_birth"),
        ({"min_examples": 51}, {}, 50, "51"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_the_rule(policy, make_request, settings, change, examples, words):
    assert words in policy(**settings).objection(make_request(**change), examples)


def test_an_objection_does_not_tell_how_many_embryos_there_are(policy, make_request):
    assert "37" not in policy(min_examples=50).objection(make_request(), 37)


def test_rounds_a_day_are_counted_across_restarts_and_begin_anew(policy, make_request, monkeypatch):
    for _ in range(2):
        found = policy(max_rounds_a_day=2)
        assert found.objection(make_request()) == ""
        found.count_round()
    found = policy(max_rounds_a_day=2)
    assert "2 rounds a day" in found.objection(make_request())
    assert found.objection(make_request(kind="evaluate", upload_url="")) == ""
    tomorrow = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)).date().isoformat()
    monkeypatch.setattr(module, "_day", lambda: tomorrow)
    assert found.objection(make_request()) == ""


def test_a_refusal_reaches_the_hub_in_words_and_nothing_is_computed(clinic, make_request):
    found = clinic(min_examples=51)
    found.say(make_request())
    reply = Reply.model_validate_json(found.link.answers[0])
    assert "fewer than 51" in reply.refused and reply.update is None and reply.validation is None
    assert found.workload.trained == 0 and found.transfers.downloads == 0


def test_asked_again_only_one_round_is_counted(clinic, make_request):
    found = clinic(max_rounds_a_day=2)
    for _ in range(3):
        found.say(make_request())
    found.say(make_request(round=2))
    assert Reply.model_validate_json(found.link.answers[-1]).refused == ""
    found.say(make_request(round=3))
    assert "a day" in Reply.model_validate_json(found.link.answers[-1]).refused
