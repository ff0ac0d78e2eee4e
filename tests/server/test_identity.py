"""The hub's identity: made once, kept, verifiable for its names, private."""

import datetime
import socket
import ssl
import threading

import pytest
from cryptography import x509

from embryofl_server import identity as module
from embryofl_server.identity import Identity


def handshake(certificate, key, ca: bytes, name: str) -> None:
    """A TLS handshake with a server that shows `certificate`, by a client that trusts `ca` only and wants `name`."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cadata=ca.decode())
    near, far = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(far, server_side=True).close()
        except (ssl.SSLError, OSError):
            far.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client.wrap_socket(near, server_hostname=name).close()
    finally:
        near.close()
        thread.join()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "identity"


@pytest.mark.parametrize(
    ("part", "name"),
    [("gateway", "hub.example"), ("gateway", "10.1.2.3"), ("gateway", "localhost"), ("gateway", "127.0.0.1"),
     ("superlink", "superlink"), ("superlink", "127.0.0.1"), ("server", "server"), ("server", "localhost")],
)  # fmt: skip
def test_each_certificate_is_good_for_its_names(folder, part, name):
    found = Identity(folder, ["hub.example", "10.1.2.3"])
    place = folder if part == "server" else folder / part
    handshake(place / f"{part}.crt", place / f"{part}.key", found.ca, name)


def test_and_for_no_other_name_and_under_no_other_authority(folder, tmp_path):
    found, other = Identity(folder, ["hub.example"]), Identity(tmp_path / "other", ["hub.example"])
    shown = (folder / "gateway" / "gateway.crt", folder / "gateway" / "gateway.key")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(*shown, found.ca, "evil.example")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(*shown, other.ca, "hub.example")


def test_a_second_start_changes_nothing(folder):
    first = Identity(folder, ["hub.example"])
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    second = Identity(folder, ["hub.example"])
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert (first.url_key, first.control_token) == (second.url_key, second.control_token)


def test_a_new_hostname_renews_the_gateways_certificate_and_not_the_authority(folder):
    ca = Identity(folder, ["hub.example"]).ca
    others = [(folder / "server.crt").read_bytes(), (folder / "superlink" / "superlink.crt").read_bytes()]
    found = Identity(folder, ["hub.example", "new.example"])
    assert found.ca == ca and (folder / "gateway" / "ca.crt").read_bytes() == ca
    assert [(folder / "server.crt").read_bytes(), (folder / "superlink" / "superlink.crt").read_bytes()] == others
    for name in ("hub.example", "new.example"):
        handshake(folder / "gateway" / "gateway.crt", folder / "gateway" / "gateway.key", ca, name)


def test_a_certificate_about_to_expire_is_renewed_at_the_next_start(folder, monkeypatch):
    monkeypatch.setattr(module, "SERVER_DAYS", module.RENEW_DAYS - 1)
    Identity(folder, [])
    old = (folder / "server.crt").read_bytes()
    monkeypatch.undo()
    Identity(folder, [])
    new = x509.load_pem_x509_certificate((folder / "server.crt").read_bytes())
    assert (folder / "server.crt").read_bytes() != old
    assert new.not_valid_after_utc > datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=300)


def test_keys_and_secrets_are_readable_by_their_owner_only(folder):
    Identity(folder, [])
    private = [p for p in folder.rglob("*") if p.suffix in (".key", ".secret", ".token")]
    assert len(private) == 7 and all(p.stat().st_mode & 0o777 == 0o600 for p in private)


def test_what_the_gateway_and_the_superlink_may_read_is_no_more_than_they_need(folder):
    Identity(folder, [])
    assert {p.name for p in (folder / "gateway").iterdir()} == {"gateway.crt", "gateway.key", "ca.crt"}
    assert {p.name for p in (folder / "superlink").iterdir()} == {
        "superlink.crt", "superlink.key", "ca.crt", "superexec.secret"
    }  # fmt: skip


def test_two_hubs_have_nothing_in_common(tmp_path):
    a, b = Identity(tmp_path / "a", []), Identity(tmp_path / "b", [])
    assert a.ca != b.ca and a.url_key != b.url_key and a.superexec_secret != b.superexec_secret
    assert len(a.control_token) == 64 and a.control_token != b.control_token
