"""Real processes, and a hub that tells clinics a lie in each masked round (`lying_hub.py`): they refuse, and say why."""

import json
import re
import sys
from collections.abc import Iterator

import pytest

from embryofl.messages import Reply
from embryofl_clinic.policy.sent import SentLog
from embryofl_demo.stack import hub_environment
from kits import KITS
from kits.federation import Federation, draw_clinic
from kits.masked_lies import LIES, STEPS, TO_BERT

pytestmark = pytest.mark.slow

CLINICS = ["anna", "bert", "cleo", "dora"]
SETTINGS = {"secure_aggregation": "required", "strategy": "fedavg", "image_size": 32}
ROUNDS = {lie: number for number, lie in enumerate(TO_BERT, 1)}
NOT_READ = {"missing_clinics": "a request from the hub is not valid: masking.roster.adverts"}
"""What the message's schema refuses before anything of it is known."""


@pytest.fixture(scope="module")
def lying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """Four clinics that have joined an honest hub, whose server then is replaced."""
    federation = Federation(tmp_path_factory.mktemp("lying") / "place")
    for name in CLINICS:
        draw_clinic(federation.place.data(name), name, patients=18)
    try:
        federation.stack.start_hub()
        federation.join(CLINICS)
        federation.kill("server")
        serve = [sys.executable, str(KITS / "lying_hub.py"), "serve"]
        federation.stack.supervisor.start("server", serve, hub_environment(federation.place))
        federation.wait_online()
        yield federation
    finally:
        federation.stack.stop()


def run_with(federation, lies, **settings):
    """A run with these lies, one in each round; its name."""
    (federation.place.hub / "lies.json").write_text(json.dumps(lies))
    return federation.run(**SETTINGS, **settings).name


@pytest.fixture(scope="module")
def to_bert(lying):
    """A run in which bert is told each of the lies that concern it alone, and none in the last round."""
    return run_with(lying, TO_BERT, rounds=len(TO_BERT) + 1, seed=40)


def heard(federation, run, number, clinic):
    """What the hub has got from a clinic in a masked round: the steps of its replies, and all that was none."""
    replies, refusals = [], []
    for line in map(json.loads, (federation.place.hub / "heard.jsonl").read_text().splitlines()):
        if (line["run"], line["round"], line["clinic"]) != (run, number, clinic) or line["kind"] not in STEPS:
            continue
        reply = None if line["error"] else Reply.model_validate_json(line["text"])
        if reply is None or reply.refused or (reply.masking and reply.masking.accused):
            assert reply is None or reply.update is None
            refusals.append(line["error"] or line["text"])
        else:
            replies.append(reply.kind)
    return replies, refusals


def sent(federation, run, number, clinic):
    """What the clinic has entered as sent in a round."""
    lines = SentLog(federation.place.clinic(clinic)).read()
    return [line.kind for line in lines if (line.run, line.round) == (run, number)]


def log_of(federation, clinic, start):
    """The lines of its log that begin so: with "round 2", and not with "round 21"."""
    begins = re.compile(rf": {start}\b")
    return "\n".join(line for line in federation.log(clinic).splitlines() if begins.search(line))


@pytest.mark.parametrize("lie", TO_BERT)
def test_lie_to_one_of_four_is_refused_by_name_and_nothing_leaves_but_that(lying, to_bert, lie):
    step, words = LIES[lie]
    number, before = ROUNDS[lie], list(STEPS[: STEPS.index(step)])
    replies, refusals = heard(lying, to_bert, number, "bert")
    assert list(dict.fromkeys(replies)) == before and refusals
    entered = sent(lying, to_bert, number, "bert")
    assert ("update" in entered) == ("train" in before)
    if lie in NOT_READ:
        assert NOT_READ[lie] in log_of(lying, "bert", "a request")
        assert sent(lying, "", 0, "bert").count("failure") >= len(refusals)
    else:
        assert words in log_of(lying, "bert", f"round {number}")
        assert len(entered) - entered.count("update") >= len(replies) + len(refusals)


def test_the_others_have_every_round_and_with_bert_again_once_it_is_told_the_truth(lying, to_bert):
    records = lying.records(to_bert)[1:]
    assert all({"anna", "dora"} <= {*record["masking"]["survivors"]} for record in records)
    assert records[-1]["masking"]["survivors"] == CLINICS
    replies, refusals = heard(lying, to_bert, len(records), "bert")
    assert {*replies} == {*STEPS} and not refusals


def test_two_views_of_who_is_in_the_sum_bring_no_share_of_either(lying):
    run = run_with(lying, ["two_views"], rounds=1, seed=41)
    for name in CLINICS:
        replies, refusals = heard(lying, run, 1, name)
        assert {*replies} == {*STEPS[:4]} and "TooFewClinicsError" in refusals  # another attempt brings nothing either
        assert LIES["two_views"][1] in log_of(lying, name, "round 1")
    assert lying.records(run)[1]["void"]


def test_second_sum_from_a_model_is_not_confirmed_without_one_of_the_clinics(lying):
    first = run_with(lying, [], rounds=1, seed=42)
    second = run_with(lying, ["second_sum"], rounds=1, seed=42)
    assert lying.records(first)[1]["masking"]["survivors"] == CLINICS
    for name in CLINICS[:3]:
        replies, refusals = heard(lying, second, 1, name)
        assert list(dict.fromkeys(replies)) == [*STEPS[:3]] and {*refusals} == {"ProtocolError"}
        found = log_of(lying, name, "round 1")
        assert f"{LIES['second_sum'][1]}, in round 1 of {first}, with other clinics" in found
    assert lying.records(second)[1]["void"]
