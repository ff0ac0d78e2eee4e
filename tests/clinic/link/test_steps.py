"""Where the trainer waits for the steps of a masked round: replies arrive although the hub is away for a moment."""

import json
import threading
from types import SimpleNamespace

import httpx
import pytest

from embryofl.messages import Delivery
from embryofl_clinic.link import steps as module
from embryofl_clinic.link.steps import StepLink


@pytest.fixture
def hub(monkeypatch):
    """`hub(*answers)`: a link to a hub that answers so; `.asked` is what it was sent."""
    monkeypatch.setattr(module, "RETRY_S", 0.001)

    def make(*answers):
        left, asked = [*answers], []

        def answer(request):
            asked.append(json.loads(request.content))
            now = left.pop(0)
            if isinstance(now, Exception):
                raise now
            return httpx.Response(now) if isinstance(now, int) else httpx.Response(200, json=now.model_dump())

        route = SimpleNamespace(client=lambda timeout: httpx.Client(transport=httpx.MockTransport(answer)))
        link = StepLink(route, "/v1/step/x?signature=1", threading.Event())
        link.asked = asked
        return link

    return make


def test_reply_is_sent_with_the_question_for_the_next_request_and_once(hub):
    link = hub(Delivery(number=1, text="letters"), 204, Delivery(number=2, text="train"))
    incoming = link.receive()
    assert incoming.text == "letters"
    link.reply(incoming, "sealed", 0.1)
    assert link.receive() is None
    assert link.receive().text == "train"
    assert [(x["number"], x["text"]) for x in link.asked] == [(0, ""), (1, "sealed"), (1, "")]


def test_failure_is_reported_by_its_type(hub):
    link = hub(Delivery(number=1, text="letters"), 204)
    link.report_failure(link.receive(), "ProtocolError", 0.1)
    link.receive()
    assert link.asked[1] == {"number": 1, "text": "", "error": "ProtocolError"}


def test_reply_is_sent_again_when_the_hub_is_away_for_a_moment(hub):
    link = hub(Delivery(number=1, text="letters"), httpx.ConnectError(""), 502, Delivery(number=2, text="train"))
    link.reply(link.receive(), "sealed", 0.1)
    assert link.receive().text == "train" and not link.closed
    assert [x["text"] for x in link.asked] == ["", "sealed", "sealed", "sealed"]


@pytest.mark.parametrize("answers", [[410], [403], [502] * module.TRIES, [200] * module.TRIES], ids=str)
def test_address_that_is_refused_or_does_not_work_is_given_up(hub, answers):
    link = hub(*answers)
    assert link.receive() is None and link.closed and link.asked == [link.asked[0]] * len(answers)
