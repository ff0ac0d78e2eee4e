"""Where clinics wait for the steps of a masked round: nothing is lost on the way, and nobody waits for ever."""

import asyncio
import threading

import pytest

from embryofl.messages import Delivery
from embryofl_server.federation import mailboxes as module
from embryofl_server.federation.mailboxes import MailboxClosed, Mailboxes


@pytest.fixture
def boxes(monkeypatch):
    monkeypatch.setattr(module, "WAIT_S", 0.05)
    return Mailboxes(threading.Event())


def ask(boxes, path, **done):
    """One request of a clinic to its mailbox."""
    return asyncio.run(boxes.exchange(path, Delivery(**done)))


def waiting(boxes, clinic="anna"):
    """The mailbox of a clinic that has just waited there."""
    path = boxes.open(clinic)
    assert ask(boxes, path) is None
    return path


def test_clinic_that_waits_gets_a_request_at_once_and_its_reply_is_read_once(boxes, monkeypatch):
    monkeypatch.setattr(module, "WAIT_S", 30.0)
    path, messages = boxes.open("anna"), []

    async def exchange():
        asked = asyncio.create_task(boxes.exchange(path, Delivery()))
        await asyncio.sleep(0.01)
        await asyncio.to_thread(lambda: messages.append(boxes.send("anna", "letters", told=True)))
        return await asyncio.wait_for(asked, 5)

    assert asyncio.run(exchange()) == Delivery(number=1, text="letters")
    monkeypatch.setattr(module, "WAIT_S", 0.01)
    assert ask(boxes, path, number=1, text="sealed") is None
    assert boxes.filled and boxes._arrived.is_set()
    assert [(r.message_id, r.text, r.error) for r in boxes.replies()] == [(messages[0], "sealed", "")]
    assert not boxes.filled and boxes.replies() == []


def test_request_that_was_lost_is_delivered_again(boxes):
    path = waiting(boxes)
    boxes.send("anna", "letters", told=True)
    assert ask(boxes, path) == ask(boxes, path) == Delivery(number=1, text="letters")


def test_reply_that_is_sent_twice_counts_once(boxes):
    path = waiting(boxes)
    boxes.send("anna", "letters", told=True)
    for _ in range(2):
        ask(boxes, path, number=1, text="sealed")
    assert len(boxes.replies()) == 1


def test_reply_to_an_older_request_is_not_taken_for_the_new_one(boxes):
    path = waiting(boxes)
    boxes.send("anna", "first", told=True)
    boxes.send("anna", "second", told=True)
    assert ask(boxes, path, number=1, text="of the first") == Delivery(number=2, text="second")
    assert boxes.replies() == []


def test_address_itself_is_not_put_where_no_clinic_has_waited(boxes):
    path = boxes.open("anna")
    assert boxes.send("anna", "keys", told=False) == ""
    assert ask(boxes, path) is None  # it comes now, and is welcome


def test_clinic_that_was_told_its_mailbox_finds_a_request_there_that_came_before_it(boxes):
    path = boxes.open("anna")
    assert boxes.send("anna", "letters", told=True)
    assert ask(boxes, path) == Delivery(number=1, text="letters")


@pytest.mark.parametrize("told", [True, False])
def test_clinic_that_has_stopped_waiting_is_sent_to_the_superlink(boxes, monkeypatch, told):
    path = waiting(boxes)
    monkeypatch.setattr(module, "STALE_S", 0.0)
    assert boxes.send("anna", "keys", told=told) == ""
    with pytest.raises(MailboxClosed):
        ask(boxes, path)


def test_clinic_that_waits_keeps_its_mailbox_and_a_new_one_replaces_that_of_one_that_does_not(boxes, monkeypatch):
    path = waiting(boxes)
    assert boxes.open("anna") == path
    monkeypatch.setattr(module, "STALE_S", 0.0)
    another = boxes.open("anna")
    assert another != path and ask(boxes, another) is None
    with pytest.raises(MailboxClosed):
        ask(boxes, path)


def test_clinics_have_mailboxes_of_their_own(boxes):
    anna, bert = waiting(boxes), waiting(boxes, "bert")
    boxes.send("bert", "letters", told=True)
    assert ask(boxes, anna) is None and ask(boxes, bert).text == "letters"
    boxes.close("anna")
    assert ask(boxes, bert).text == "letters"
    with pytest.raises(MailboxClosed):
        ask(boxes, anna)


def test_closing_all_sends_away_whoever_waits(boxes, monkeypatch):
    monkeypatch.setattr(module, "WAIT_S", 30.0)
    path = boxes.open("anna")

    async def exchange():
        asked = asyncio.create_task(boxes.exchange(path, Delivery()))
        await asyncio.sleep(0.01)
        await asyncio.to_thread(boxes.close)
        await asyncio.wait_for(asked, 5)

    with pytest.raises(MailboxClosed):
        asyncio.run(exchange())


def test_text_of_a_clinics_error_is_not_repeated(boxes):
    path = waiting(boxes)
    for error, shown in (("ProtocolError", "ProtocolError"), ("/data/anna.png", "an error")):
        number = int(boxes.send("anna", "letters", told=True).rsplit("-", 1)[1])
        ask(boxes, path, number=number, error=error)
        assert [reply.error for reply in boxes.replies()] == [shown]
