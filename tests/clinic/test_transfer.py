"""Transfers: whole and checked, or not at all; a broken download goes on where it stopped."""

import hashlib
import threading
import time

import httpx
import numpy as np
import pytest

from embryofl.messages import Download
from embryofl_clinic import transfer as module
from embryofl_clinic.fleet_link import Stopped
from embryofl_clinic.transfer import TransferDamaged, TransferRefused, Transfers

DATA = np.random.default_rng(0).bytes(10_000)
WANTED = Download(url="/v1/model/x?s=1", size=len(DATA), sha256=hashlib.sha256(DATA).hexdigest())


@pytest.fixture
def transfers(monkeypatch):
    """`transfers(handler)`: transfers whose requests go to `handler(request)`."""
    monkeypatch.setattr(module, "RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(module, "RETRY_MOST_S", 0.002)
    monkeypatch.setattr(module, "tls_context", lambda ca: True)

    def make(handler, stop=None):
        found = Transfers("hub:1", "", stop or threading.Event())
        found._client = httpx.Client(base_url="https://hub:1", transport=httpx.MockTransport(handler))
        return found

    return make


def soon():
    return time.time() + 30


class Broken(httpx.SyncByteStream):
    """Gives some bytes, then the connection is gone."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __iter__(self):
        yield self.data
        raise httpx.ReadError("gone")


def test_a_broken_download_goes_on_where_it_stopped(transfers):
    asked = []

    def serve(request):
        at = int(request.headers.get("Range", "bytes=0-")[6:-1])
        asked.append(at)
        part = DATA[at : at + 3000]
        stream = httpx.ByteStream(DATA[at:]) if at >= 6000 else Broken(part)
        return httpx.Response(206 if at else 200, stream=stream)

    assert transfers(serve).download(WANTED, soon()).tobytes() == DATA
    assert asked == [0, 3000, 6000]


def test_a_server_that_knows_no_ranges_is_served_too(transfers):
    turn = iter([Broken(DATA[:3000]), httpx.ByteStream(DATA)])
    found = transfers(lambda request: httpx.Response(200, stream=next(turn)))
    assert found.download(WANTED, soon()).tobytes() == DATA


@pytest.mark.parametrize("data", [DATA[:-1] + b"x", DATA + b"x", bytes(len(DATA))])
def test_other_bytes_than_announced_are_not_taken(transfers, data):
    with pytest.raises(TransferDamaged):
        transfers(lambda request: httpx.Response(200, stream=httpx.ByteStream(data))).download(WANTED, soon())


@pytest.mark.parametrize("status", [403, 404, 410, 302])
def test_a_refusal_is_final(transfers, status):
    calls = []

    def serve(request):
        calls.append(request)
        return httpx.Response(status, headers={"Location": "https://evil/"})

    found = transfers(serve)
    with pytest.raises(TransferRefused):
        found.download(WANTED, soon())
    with pytest.raises(TransferRefused):
        found.upload("/v1/update/x", np.frombuffer(DATA, np.uint8), soon())
    assert len(calls) == 2 and {c.url.host for c in calls} == {"hub"}


def test_a_hub_that_is_away_is_tried_until_the_deadline(transfers):
    calls = []

    def serve(request):
        calls.append(1)
        if len(calls) % 2:
            raise httpx.ConnectError("refused")
        return httpx.Response(502)

    with pytest.raises(TransferRefused, match="deadline"):
        transfers(serve).download(WANTED, time.time() + 0.1)
    assert len(calls) > 2


def test_an_upload_is_sent_whole_again_after_a_break(transfers):
    got = []

    def serve(request):
        got.append(request.read())
        assert request.headers["Content-Length"] == str(len(DATA))
        if len(got) == 1:
            raise httpx.WriteError("gone")
        return httpx.Response(503 if len(got) == 2 else 201)

    update = transfers(serve).upload("/v1/update/x?s=1", np.frombuffer(DATA, np.uint8), soon())
    assert got == [DATA] * 3
    assert (update.size, update.sha256) == (len(DATA), WANTED.sha256)


def test_a_stop_ends_the_wait(transfers):
    stop = threading.Event()
    stop.set()

    def away(request):
        raise httpx.ConnectError("refused")

    with pytest.raises(Stopped):
        transfers(away, stop).download(WANTED, soon())
