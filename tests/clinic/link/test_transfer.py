"""Transfers: complete and checked, or not at all; an interrupted download continues where it stopped."""

import contextlib
import hashlib
import threading
import time

import numpy as np
import pytest

from embryofl.membership import HubContact
from embryofl.schema import Download
from embryofl_clinic.joining.route import Route
from embryofl_clinic.link import transfer as module
from embryofl_clinic.link.fleet_link import Stopped
from embryofl_clinic.link.transfer import HttpTransfers
from embryofl_clinic.workload.transfers import TransferDamaged, TransferRefused
from kits.answering import answering
from kits.tls import Authority

DATA = np.random.default_rng(0).bytes(10_000)
WANTED = Download(url="/v1/model/x?s=1", size=len(DATA), sha256=hashlib.sha256(DATA).hexdigest())


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def transfers(monkeypatch, authority, tmp_path):
    """`transfers(respond, stop, trusted)`: requests get what `respond(request)` sends, over TLS with `authority`'s
    certificate; the clinic trusts `trusted`, by default the same."""
    monkeypatch.setattr(module, "RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(module, "RETRY_MOST_S", 0.002)
    with contextlib.ExitStack() as servers:

        def make(respond, stop=None, trusted=authority):
            server = servers.enter_context(answering(respond, authority.context(tmp_path, "localhost")))
            hubs = [f"localhost:{server.server_port}"]
            route = Route(HubContact(hubs=hubs, ca=trusted.pem, server_name="localhost"))
            return HttpTransfers(route, stop or threading.Event())

        yield make


def soon():
    return time.time() + 30


def send(request, status, data=b"", length=None, **headers):
    """Respond; `length` promises another number of bytes than are sent before the connection ends."""
    request.send_response(status)
    request.send_header("Content-Length", str(len(data) if length is None else length))
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(data)


def test_interrupted_download_continues_where_it_stopped(transfers):
    offsets = []

    def respond(request):
        at = int(request.headers.get("Range", "bytes=0-")[6:-1])
        offsets.append(at)
        send(request, 206 if at else 200, DATA[at : at + 3000] if at < 6000 else DATA[at:], length=len(DATA) - at)

    assert transfers(respond).download(WANTED, soon()).tobytes() == DATA
    assert offsets == [0, 3000, 6000]


def test_server_without_range_support_is_asked_for_everything_again(transfers):
    bodies = iter([DATA[:3000], DATA])
    client = transfers(lambda request: send(request, 200, next(bodies), length=len(DATA)))
    assert client.download(WANTED, soon()).tobytes() == DATA


@pytest.mark.parametrize("data", [DATA[:-1] + b"x", DATA + b"x", bytes(len(DATA))])
def test_bytes_other_than_announced_are_rejected(transfers, data):
    with pytest.raises(TransferDamaged):
        transfers(lambda request: send(request, 200, data)).download(WANTED, soon())


def test_nothing_is_sent_to_a_hub_with_another_certificate(transfers):
    calls = []
    with pytest.raises(TransferRefused, match="deadline"):
        transfers(calls.append, trusted=Authority()).upload(
            "/v1/update/x", np.frombuffer(DATA, np.uint8), time.time() + 0.1
        )
    assert calls == []


@pytest.mark.parametrize("status", [403, 404, 410, 302])
def test_rejection_by_the_hub_is_final(transfers, status):
    calls = []

    def respond(request):
        calls.append(request.command)
        send(request, status, Location="https://evil.invalid/")

    client = transfers(respond)
    with pytest.raises(TransferRefused, match=f"http_{status}"):
        client.download(WANTED, soon())
    with pytest.raises(TransferRefused, match=f"http_{status}"):
        client.upload("/v1/update/x", np.frombuffer(DATA, np.uint8), soon())
    assert calls == ["GET", "PUT"]


def test_unreachable_hub_is_tried_until_the_deadline(transfers):
    calls = []

    def respond(request):
        calls.append(1)
        if len(calls) % 2:  # else the connection just ends
            send(request, 502)

    with pytest.raises(TransferRefused, match="deadline"):
        transfers(respond).download(WANTED, time.time() + 0.3)
    assert len(calls) > 2


def test_interrupted_upload_is_sent_again_from_the_start(transfers):
    bodies = []

    def respond(request):
        bodies.append(request.rfile.read(int(request.headers["Content-Length"])))
        if len(bodies) > 1:
            send(request, 503 if len(bodies) == 2 else 201)

    update = transfers(respond).upload("/v1/update/x?s=1", np.frombuffer(DATA, np.uint8), soon())
    assert bodies == [DATA] * 3
    assert (update.size, update.sha256) == (len(DATA), WANTED.sha256)


def test_stop_ends_the_wait(transfers):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        transfers(lambda request: None, stop).download(WANTED, soon())
