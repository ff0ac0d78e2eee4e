"""What a clinic learns of how it stands with the hub, and what it does with a wrong clock of its own."""

import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from embryofl.invite import HUB_NAME
from embryofl.membership import MembershipStatus, RejectedReply, StatusRequest
from embryofl_clinic.exporter import TrainerMetrics, make_registry
from embryofl_clinic.joining import route
from embryofl_clinic.joining import status as module
from embryofl_clinic.joining.clock import HubClock
from embryofl_clinic.joining.identity import ClinicIdentity, JoinedHub
from embryofl_clinic.joining.others import OthersStatistics
from embryofl_clinic.joining.status import StatusPoller


@pytest.fixture
def hub(monkeypatch):
    """A hub that answers with `hub.answer`; plain HTTP in the place of TLS."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            hub.asked.append(self.rfile.read(int(self.headers["Content-Length"])))
            body = hub.answer.model_dump_json().encode() if hub.answer else b"no"
            self.send_response(200 if hub.answer else 403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    hub = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.asked, hub.answer = [], None

    class Plain(httpx.HTTPTransport):
        def handle_request(self, request):
            request.url = request.url.copy_with(scheme="http")
            return super().handle_request(request)

    monkeypatch.setattr(route._Transport, "_to", lambda self, hub: Plain())
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    yield hub
    hub.shutdown()
    hub.server_close()


@pytest.fixture
def desk(tmp_path, hub):
    identity = ClinicIdentity(tmp_path / "identity")
    member = JoinedHub(name="anna", hubs=[f"127.0.0.1:{hub.server_address[1]}"], ca="", server_name=HUB_NAME)
    found = StatusPoller(
        identity, member, route.Route(member), HubClock(), TrainerMetrics("anna"), OthersStatistics(tmp_path)
    )
    found.identity = identity
    return found


def standing(state="enrolled", reason="", refused=None, off=0.0):
    return MembershipStatus(state=state, since=1.0, reason=reason, refused=refused, time=time.time() + off, name="anna")


def look(desk, caplog, now=True):
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="embryofl.standing"):
        desk.look(now=now)
    return caplog.text


def suspended(desk):
    registry = make_registry(desk._metrics)
    return registry.get_sample_value("embryofl_trainer_suspended", {"clinic": "anna"})


def test_it_says_when_it_is_suspended_and_why_once_and_when_it_is_let_in_again(desk, hub, caplog):
    hub.answer = standing()
    assert look(desk, caplog) == "" and suspended(desk) == 0
    hub.answer = standing("suspended", "three wild answers")
    text = look(desk, caplog)
    assert "suspended" in text and "three wild answers" in text and "coordinator" in text and suspended(desk) == 1
    assert look(desk, caplog) == ""
    hub.answer = standing()
    assert "takes part again" in look(desk, caplog) and suspended(desk) == 0


def test_it_says_which_answer_was_refused_once(desk, hub, caplog):
    refused = RejectedReply(run="run-0001", round=3, reason="norm", words="far too long", time=7.0)
    hub.answer = standing(refused=refused)
    text = look(desk, caplog)
    assert "round 3 of run-0001" in text and "norm" in text and "far too long" in text
    assert look(desk, caplog) == ""
    hub.answer = standing(refused=refused.model_copy(update={"round": 4, "time": 8.0}))
    assert "round 4" in look(desk, caplog)


def test_the_question_is_signed_with_the_clinics_own_key(desk, hub, caplog):
    hub.answer = standing()
    look(desk, caplog)
    question = StatusRequest.model_validate_json(hub.asked[0])
    desk.identity.key.public_key().verify(bytes.fromhex(question.proof), question.text(), ec.ECDSA(SHA256()))
    assert question.name == "anna"


def test_it_does_not_ask_all_the_time_but_soon_after_an_answer(desk, hub, caplog, monkeypatch):
    hub.answer = standing()
    for _ in range(5):
        look(desk, caplog, now=False)
    assert len(hub.asked) == 1
    monkeypatch.setattr(module, "SOON_S", 0.0)
    desk.soon()
    look(desk, caplog, now=False)
    assert len(hub.asked) == 2


@pytest.mark.parametrize("off", [-86_400.0, 3_600.0])
def test_a_wrong_clock_is_said_and_the_hubs_time_is_used(desk, hub, caplog, off):
    hub.answer = standing(off=off)
    text = look(desk, caplog)
    assert "clock" in text and ("behind" if off > 0 else "ahead") in text
    assert desk._clock.off and abs(desk._clock.now() - (time.time() + off)) < 5
    assert look(desk, caplog) == ""
    hub.answer = standing()
    look(desk, caplog)
    assert not desk._clock.off


def test_a_hub_that_says_nothing_changes_nothing(desk, hub, caplog):
    assert look(desk, caplog) == "" and desk._clock.offset == 0.0
    hub.shutdown()
    hub.server_close()
    assert look(desk, caplog) == ""
