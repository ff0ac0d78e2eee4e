"""A clinic's status requests, and how it copes with a wrong clock."""

import json
import logging
import threading
import time
from types import SimpleNamespace

import httpx
import pytest

from embryofl.clinic_keys import signed_by
from embryofl.invite import HUB_NAME
from embryofl.membership import MembershipStatus, RejectedReply, StatusRequest
from embryofl_clinic.joining import client as client_module
from embryofl_clinic.joining import route
from embryofl_clinic.joining import status as module
from embryofl_clinic.joining.client import HubClient
from embryofl_clinic.joining.identity import ClinicIdentity, JoinedHub
from embryofl_clinic.joining.status import StatusPoller
from kits.answering import answering, reply


@pytest.fixture
def hub(monkeypatch):
    """A hub that replies with `hub.reply`, over plain HTTP instead of TLS."""

    def respond(handler):
        body = hub.reply.model_dump_json().encode() if hub.reply else hub.no
        reply(handler, body, 200 if hub.reply else hub.code, hub.asked)

    class Plain(httpx.HTTPTransport):
        def handle_request(self, request):
            request.url = request.url.copy_with(scheme="http")
            return super().handle_request(request)

    monkeypatch.setattr(route, "open_transport", lambda hub, trust: Plain())
    with answering(respond) as hub:
        hub.asked, hub.reply, hub.code, hub.no = [], None, 403, b"no"
        yield hub


@pytest.fixture
def client(tmp_path, hub):
    member = JoinedHub(name="anna", hubs=[f"127.0.0.1:{hub.server_address[1]}"], ca="", server_name=HUB_NAME)
    return HubClient(ClinicIdentity(tmp_path / "identity"), member, tmp_path)


@pytest.fixture
def poller(tmp_path, client):
    return StatusPoller(client, tmp_path)


def status(state="enrolled", reason="", refused=None, off=0.0):
    return MembershipStatus(state=state, since=1.0, reason=reason, refused=refused, time=time.time() + off, name="anna")


def poll(poller, caplog, now=True):
    """Poll; returns what was logged."""
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="embryofl.status"):
        poller.poll(now=now)
    return caplog.text


def test_suspension_and_reinstatement_are_logged_once_with_the_reason(poller, hub, caplog):
    hub.reply = status()
    assert poll(poller, caplog) == ""
    hub.reply = status("suspended", "three wild replies")
    text = poll(poller, caplog)
    assert "suspended" in text and "three wild replies" in text and "coordinator" in text
    assert poll(poller, caplog) == ""
    hub.reply = status()
    assert "enrolled and takes part" in poll(poller, caplog)


def test_rejected_reply_is_logged_once_with_its_reason(poller, hub, caplog):
    rejected = RejectedReply(run="run-0001", round=3, reason="norm", words="far too long", time=7.0)
    hub.reply = status(refused=rejected)
    text = poll(poller, caplog)
    assert "round 3 of run-0001" in text and "norm" in text and "far too long" in text
    assert poll(poller, caplog) == ""
    hub.reply = status(refused=rejected.model_copy(update={"round": 4, "time": 8.0}))
    assert "round 4" in poll(poller, caplog)


def test_status_request_is_signed_with_the_clinics_key(client, poller, hub, caplog):
    hub.reply = status()
    poll(poller, caplog)
    request = StatusRequest.model_validate_json(hub.asked[0])
    assert signed_by(client.identity.public_key, request.proof, request.text())
    assert request.name == "anna"


def test_status_is_requested_rarely_but_soon_after_a_reply(poller, hub, caplog, monkeypatch):
    hub.reply = status()
    for _ in range(5):
        poll(poller, caplog, now=False)
    assert len(hub.asked) == 1
    monkeypatch.setattr(module, "SOON_S", 0.0)
    poller.poll_soon()
    poll(poller, caplog, now=False)
    assert len(hub.asked) == 2


def test_request_that_the_hub_holds_is_repeated_at_once_after_its_time_and_after_work(poller, hub, monkeypatch):
    stop, paused = threading.Event(), []
    monkeypatch.setattr(stop, "wait", paused.append)
    hub.reply = status()
    assert poller.wait_for_work(stop) == hub.reply and not paused
    assert json.loads(hub.asked[0])["hold"] == module.EVERY_S
    assert [poller.wait_for_work(stop) for _ in range(40)] == [None] * 40  # answered at once: not held
    assert paused[0] == 0.1 and paused[-1] == 2.0 and len(hub.asked) == 1
    poller._next_held = 0.0
    hub.reply = status().model_copy(update={"work": True})
    monkeypatch.setattr(module, "POLL_FAST_S", 0.0)
    for _ in range(2):
        assert poller.wait_for_work(stop).work
    monkeypatch.setattr(module, "EVERY_S", 0.0)
    hub.reply = status()
    for _ in range(2):
        assert not poller.wait_for_work(stop).work
    assert len(hub.asked) == 5


def test_trainer_stops_while_the_hub_holds_its_request(poller, client, monkeypatch):
    stop, over = threading.Event(), threading.Event()
    monkeypatch.setattr(client, "ask_status", lambda *_: stop.set() or over.wait(30))
    monkeypatch.setattr(module, "STOP_S", 0.01)
    assert poller.wait_for_work(stop) is None and not over.is_set()
    over.set()


def test_long_wait_for_an_answer_is_not_taken_for_a_wrong_clock(client, hub, monkeypatch):
    hub.reply = status().model_copy(update={"time": 1020.0})
    times = iter([1000.0, 1020.0])
    monkeypatch.setattr(client_module, "time", SimpleNamespace(time=lambda: next(times)))
    assert client.ask_status(hold=20.0) and not client.clock.off


@pytest.mark.parametrize("off", [-86_400.0, 3_600.0])
def test_wrong_clock_is_logged_and_the_hubs_time_is_used(poller, client, hub, caplog, off):
    hub.reply, clock = status(off=off), client.clock
    text = poll(poller, caplog)
    assert "clock" in text and ("behind" if off > 0 else "ahead") in text
    assert clock.off and abs(clock.now() - (time.time() + off)) < 5
    assert poll(poller, caplog) == ""
    hub.reply = status()
    poll(poller, caplog)
    assert not clock.off


def test_missing_status_changes_nothing(poller, client, hub, caplog):
    assert poll(poller, caplog) == "" and client.clock.offset == 0.0
    hub.shutdown()
    hub.server_close()
    assert poll(poller, caplog) == ""


def test_hub_that_does_not_work_with_this_version_is_quoted_in_log_and_status(hub, client, poller, caplog):
    hub.code, hub.no = 400, b'{"error": "The clinic\'s is too old: start another. (C8: docs/troubleshooting.md#c8)"}'
    for _ in range(2):
        poller.poll(now=True)
    assert [r.message for r in caplog.records if "too old" in r.message] == [
        "the hub does not work with this version: The clinic's is too old: start another. (C8: docs/troubleshooting.md#c8)"
    ]
    assert client.rejected.startswith("The clinic's is too old")
    hub.reply = status()
    poller.poll(now=True)
    assert client.rejected == ""
