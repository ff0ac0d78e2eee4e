"""Transfers: whole and checked, or not at all; a broken download goes on where it stopped."""

import datetime
import hashlib
import http.server
import ssl
import threading
import time

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from embryofl.membership import HubContact
from embryofl.schema import Download
from embryofl_clinic.joining.route import Route
from embryofl_clinic.link import transfer as module
from embryofl_clinic.link.fleet_link import Stopped
from embryofl_clinic.link.transfer import TransferDamaged, TransferRefused, Transfers

DATA = np.random.default_rng(0).bytes(10_000)
WANTED = Download(url="/v1/model/x?s=1", size=len(DATA), sha256=hashlib.sha256(DATA).hexdigest())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for localhost that is its own authority: (PEM, context of a server that shows it)."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(Encoding.PEM)
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return pem.decode(), context


@pytest.fixture
def transfers(monkeypatch, certificate):
    """`transfers(answer)`: transfers whose requests are answered by `answer(request)`, over real TLS."""
    monkeypatch.setattr(module, "RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(module, "RETRY_MOST_S", 0.002)
    servers = []

    def make(answer, stop=None):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                answer(self)
                self.close_connection = True

            do_PUT = do_GET

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.socket = certificate[1].wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return Transfers(
            Route(HubContact(hubs=[f"localhost:{server.server_port}"], ca=certificate[0], server_name="localhost")),
            stop or threading.Event(),
        )

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def soon():
    return time.time() + 30


def send(request, status, data=b"", length=None, **headers):
    """Answer; `length` promises another number of bytes than are sent before the connection ends."""
    request.send_response(status)
    request.send_header("Content-Length", str(len(data) if length is None else length))
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(data)


def test_a_broken_download_goes_on_where_it_stopped(transfers):
    asked = []

    def answer(request):
        at = int(request.headers.get("Range", "bytes=0-")[6:-1])
        asked.append(at)
        send(request, 206 if at else 200, DATA[at : at + 3000] if at < 6000 else DATA[at:], length=len(DATA) - at)

    assert transfers(answer).download(WANTED, soon()).tobytes() == DATA
    assert asked == [0, 3000, 6000]


def test_a_server_that_knows_no_ranges_is_served_too(transfers):
    turn = iter([DATA[:3000], DATA])
    found = transfers(lambda request: send(request, 200, next(turn), length=len(DATA)))
    assert found.download(WANTED, soon()).tobytes() == DATA


@pytest.mark.parametrize("data", [DATA[:-1] + b"x", DATA + b"x", bytes(len(DATA))])
def test_other_bytes_than_announced_are_not_taken(transfers, data):
    with pytest.raises(TransferDamaged):
        transfers(lambda request: send(request, 200, data)).download(WANTED, soon())


def test_a_hub_with_another_certificate_gets_and_gives_nothing(transfers, certificate):
    calls = []
    found = transfers(calls.append)
    found._route._context = ssl.create_default_context()  # knows the public authorities, not this one
    with pytest.raises(TransferRefused, match="deadline"):
        found.upload("/v1/update/x", np.frombuffer(DATA, np.uint8), time.time() + 0.1)
    assert calls == []


@pytest.mark.parametrize("status", [403, 404, 410, 302])
def test_a_refusal_is_final(transfers, status):
    calls = []

    def answer(request):
        calls.append(request.command)
        send(request, status, Location="https://evil.invalid/")

    found = transfers(answer)
    with pytest.raises(TransferRefused, match=f"http_{status}"):
        found.download(WANTED, soon())
    with pytest.raises(TransferRefused, match=f"http_{status}"):
        found.upload("/v1/update/x", np.frombuffer(DATA, np.uint8), soon())
    assert calls == ["GET", "PUT"]


def test_a_hub_that_is_away_is_tried_until_the_deadline(transfers):
    calls = []

    def answer(request):
        calls.append(1)
        if len(calls) % 2:  # else the connection just ends
            send(request, 502)

    with pytest.raises(TransferRefused, match="deadline"):
        transfers(answer).download(WANTED, time.time() + 0.3)
    assert len(calls) > 2


def test_an_upload_is_sent_whole_again_after_a_break(transfers):
    got = []

    def answer(request):
        got.append(request.rfile.read(int(request.headers["Content-Length"])))
        if len(got) > 1:
            send(request, 503 if len(got) == 2 else 201)

    update = transfers(answer).upload("/v1/update/x?s=1", np.frombuffer(DATA, np.uint8), soon())
    assert got == [DATA] * 3
    assert (update.size, update.sha256) == (len(DATA), WANTED.sha256)


def test_a_stop_ends_the_wait(transfers):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        transfers(lambda request: None, stop).download(WANTED, soon())
