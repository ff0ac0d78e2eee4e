"""Transfer of weights: a signed URL opens one file for one clinic for a limited time, and an upload is complete or rejected."""

import asyncio
import hashlib
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from embryofl_server.federation.blobs import MODEL_PREFIX, BadUrl, SignedUrls, UploadRefused, Uploads

PATH = MODEL_PREFIX + "run-0001/round-0001.safetensors"


@pytest.fixture
def members():
    return {"anna", "bert"}


@pytest.fixture
def urls(members):
    return SignedUrls(b"k" * 32, members.__contains__)


def with_query(url, **changes):
    parts = urlsplit(url)
    return f"{parts.path}?{urlencode(dict(parse_qsl(parts.query)) | changes)}"


def test_valid_url_opens_its_path(urls):
    assert urls.check("GET", urls.sign("GET", PATH, "anna", 60)) == PATH


@pytest.mark.parametrize(
    "change",
    [
        lambda u: u.replace("round-0001", "round-0002"),
        lambda u: u.replace("/v1/model/", "/v1/model/../hub/"),
        lambda u: u.replace("/v1/model/", "/v1/model//"),
        lambda u: u.replace("/v1/model/", "/v1/model/%2e/"),
        lambda u: u.replace("/v1/", "/V1/"),
        lambda u: with_query(u, clinic="bert"),
        lambda u: with_query(u, clinic=""),
        lambda u: with_query(u, expires="99999999999"),
        lambda u: with_query(u, expires=""),
        lambda u: with_query(u, signature="0" * 64),
        lambda u: with_query(u, signature=""),
        lambda u: with_query(u, signature="é"),
        lambda u: urlsplit(u).path,
        lambda u: u.split("&signature")[0],
        lambda u: u.upper(),
        lambda u: "",
        lambda u: "http://[",
    ],
)
def test_changed_url_is_rejected(urls, change):
    with pytest.raises(BadUrl):
        urls.check("GET", change(urls.sign("GET", PATH, "anna", 60)))


def test_method_is_part_of_the_signature(urls):
    for signed, used in (("GET", "PUT"), ("PUT", "GET"), ("GET", "HEAD")):
        with pytest.raises(BadUrl, match="signature"):
            urls.check(used, urls.sign(signed, PATH, "anna", 60))


def test_url_expires(urls, monkeypatch):
    url = urls.sign("GET", PATH, "anna", 60)
    import time

    now = time.time()
    monkeypatch.setattr("embryofl_server.federation.blobs.time.time", lambda: now + 59)
    urls.check("GET", url)
    monkeypatch.setattr("embryofl_server.federation.blobs.time.time", lambda: now + 62)
    with pytest.raises(BadUrl, match="expired"):
        urls.check("GET", url)


def test_removed_clinic_loses_its_urls_at_once(urls, members):
    url = urls.sign("GET", PATH, "anna", 60)
    members.remove("anna")
    with pytest.raises(BadUrl, match="clinic"):
        urls.check("GET", url)


def test_another_hub_signs_differently(urls):
    with pytest.raises(BadUrl):
        SignedUrls(b"x" * 32, lambda _: True).check("GET", urls.sign("GET", PATH, "anna", 60))


# -- uploads ------------------------------------------------------------------------------------------------------------
DATA = bytes(range(256)) * 40


def send(uploads, path, data, length=None, cut=False):
    async def body():
        for at in range(0, len(data), 1000):
            yield data[at : at + 1000]
        if cut:
            raise ConnectionError("the clinic is gone")

    asyncio.run(uploads.receive(path, len(data) if length is None else length, body()))


@pytest.fixture
def uploads(tmp_path):
    return Uploads(tmp_path / "uploads")


def left(tmp_path):
    return list((tmp_path / "uploads").iterdir())


def test_complete_upload_is_collected_once(uploads, tmp_path):
    path = uploads.expect("run-0001", 1, "anna", len(DATA))
    send(uploads, path, DATA)
    assert uploads.arrived.is_set()
    ticket = uploads.collect(path)
    assert ticket.path.read_bytes() == DATA and ticket.sha256 == hashlib.sha256(DATA).hexdigest()
    assert uploads.collect(path) is None


@pytest.mark.parametrize(
    ("data", "length", "status"),
    [
        (DATA[:-1], None, 413),  # announces less
        (DATA + b"x", None, 413),  # announces more
        (DATA[:-1], len(DATA), 400),  # sends less than announced
        (DATA + b"x", len(DATA), 413),  # sends more than announced
        (b"", len(DATA), 400),
        (DATA, -1, 413),
    ],
)
def test_upload_of_the_wrong_length_leaves_nothing_behind(uploads, tmp_path, data, length, status):
    path = uploads.expect("run-0001", 1, "anna", len(DATA))
    with pytest.raises(UploadRefused) as caught:
        send(uploads, path, data, length)
    assert caught.value.status == status and left(tmp_path) == []
    send(uploads, path, DATA)  # the clinic may send it again
    assert uploads.collect(path) is not None


def test_broken_connection_leaves_nothing_behind_and_the_upload_can_be_repeated(uploads, tmp_path):
    path = uploads.expect("run-0001", 1, "anna", len(DATA))
    with pytest.raises(ConnectionError):
        send(uploads, path, DATA[:500], len(DATA), cut=True)
    assert left(tmp_path) == [] and not uploads.arrived.is_set()
    send(uploads, path, DATA)
    assert uploads.collect(path).path.read_bytes() == DATA


def test_unexpected_upload_is_rejected(uploads, tmp_path):
    path = uploads.expect("run-0001", 1, "anna", len(DATA))
    for wrong in (path + "x", "/v1/update/", "/v1/update/../../etc/passwd", "run-0001-0001-anna"):
        with pytest.raises(UploadRefused) as caught:
            send(uploads, wrong, DATA)
        assert caught.value.status == 410
    assert left(tmp_path) == []


def test_upload_path_cannot_be_guessed(uploads):
    paths = {uploads.expect("run-0001", 1, "anna", 1) for _ in range(10)}
    assert len(paths) == 10 and all(len(p) > 40 for p in paths)


def test_upload_after_its_round_is_rejected(uploads, tmp_path):
    path = uploads.expect("run-0001", 1, "anna", len(DATA))
    send(uploads, path, DATA)
    uploads.forget([path, "/v1/update/unknown"])
    assert left(tmp_path) == [] and uploads.collect(path) is None
    with pytest.raises(UploadRefused) as caught:
        send(uploads, path, DATA)
    assert caught.value.status == 410


def test_second_upload_cannot_replace_one_that_has_passed_the_gate(uploads, tmp_path):
    """Two simultaneous uploads to one path: the second ends after the first was checked, and must change nothing."""
    path = uploads.expect("run-0001", 1, "anna", len(DATA))
    other = bytes(reversed(DATA))

    async def both():
        checked = asyncio.Event()

        async def slow():
            yield other[:1000]
            await checked.wait()
            yield other[1000:]

        second = asyncio.create_task(uploads.receive(path, len(other), slow()))
        await asyncio.sleep(0)

        async def quick():
            yield DATA

        await uploads.receive(path, len(DATA), quick())
        ticket = uploads.collect(path)
        checked.set()
        with pytest.raises(UploadRefused):
            await second
        return ticket

    ticket = asyncio.run(both())
    assert ticket.path.read_bytes() == DATA and ticket.sha256 == hashlib.sha256(DATA).hexdigest()
    assert left(tmp_path) == [ticket.path]


def test_only_the_newest_of_many_uploads_to_one_path_continues(uploads, tmp_path):
    """Otherwise one clinic could fill the disk through a single path."""
    path = uploads.expect("run-0001", 1, "anna", len(DATA))

    async def many():
        go = asyncio.Event()

        async def slow():
            yield DATA[:1000]
            await go.wait()
            yield DATA[1000:]

        tasks = []
        for _ in range(5):
            tasks.append(asyncio.create_task(uploads.receive(path, len(DATA), slow())))
            await asyncio.sleep(0.01)
        go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    *older, newest = asyncio.run(many())
    assert newest is None and all(isinstance(e, UploadRefused) and e.status == 503 for e in older)
    assert left(tmp_path) == [uploads.collect(path).path]


def test_upload_that_ends_after_its_round_leaves_nothing(uploads, tmp_path):
    path = uploads.expect("run-0001", 1, "anna", len(DATA))

    async def late():
        yield DATA[:1000]
        uploads.forget([path])
        yield DATA[1000:]

    with pytest.raises(UploadRefused) as caught:
        asyncio.run(uploads.receive(path, len(DATA), late()))
    assert caught.value.status == 410 and left(tmp_path) == []


def test_stalled_upload_is_dropped_and_can_be_repeated(uploads, tmp_path, monkeypatch):
    """A machine that loses power during an upload does not close its connection."""
    monkeypatch.setattr("embryofl_server.federation.blobs.STALL_S", 0.05)
    path = uploads.expect("run-0001", 1, "anna", len(DATA))

    async def dead():
        yield DATA[:1000]
        await asyncio.sleep(30)

    with pytest.raises(UploadRefused) as caught:
        asyncio.run(uploads.receive(path, len(DATA), dead()))
    assert caught.value.status == 408 and left(tmp_path) == []
    send(uploads, path, DATA)
    assert uploads.collect(path) is not None


def test_upload_that_trickles_is_dropped(uploads, tmp_path, monkeypatch):
    """A byte before each time-out would hold its connection for as long as the round lasts."""
    monkeypatch.setattr("embryofl_server.federation.blobs.STALL_S", 2.0)
    path, sent = uploads.expect("run-0001", 1, "anna", len(DATA)), []

    async def trickle():
        for byte in DATA:
            sent.append(byte)
            yield bytes([byte])
            await asyncio.sleep(0.01)

    with pytest.raises(UploadRefused) as caught:
        asyncio.run(uploads.receive(path, len(DATA), trickle()))
    assert caught.value.status == 408 and left(tmp_path) == [] and len(sent) < len(DATA)


def test_leftovers_of_an_earlier_process_are_removed(tmp_path):
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "old").write_bytes(b"x")
    Uploads(tmp_path / "uploads")
    assert left(tmp_path) == []
