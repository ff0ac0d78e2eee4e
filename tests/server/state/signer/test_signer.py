"""The signer in a process of its own: what a server that was taken over can read, and can have it sign."""

import ipaddress
import json
import socket
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from embryofl.clinic_keys import authorities, sign
from embryofl.errors import UserError
from embryofl.invite import HUB_NAME
from embryofl.membership import HubContact, SignedContact, contact_text
from embryofl.tunnel import TunnelState
from embryofl_server.hub import Hub
from embryofl_server.settings import HubSettings
from embryofl_server.state.signer.authority import Authority, put_back, saved
from embryofl_server.state.signer.client import SignerProcess
from embryofl_server.state.signer.process import answer_all, listening, short


@pytest.fixture
def settings(tmp_path):
    return HubSettings(
        state_dir=tmp_path / "hub",
        superlink_address="127.0.0.1:9",
        hostnames="hub.example",
        tunnel_file=tmp_path / "tunnel.json",
        signer_socket=tmp_path / ("a-long-name" * 12) / "socket",  # longer than a socket's path may be
    )


@pytest.fixture
def signer(settings):
    """The server's side of a signer that answers by its socket, until the test is over."""
    with listening(settings.socket) as listener:
        thread = threading.Thread(target=_answer, args=(listener, settings))
        thread.start()
        yield SignerProcess(settings.socket)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _answer(listener, settings):
    with pytest.raises(OSError, match="Invalid argument"):  # its socket was shut down
        answer_all(listener, Authority(settings))


@pytest.fixture
def hub(settings, signer):
    hub = Hub(settings, signer)
    yield hub
    hub.store.close()


def test_server_that_was_taken_over_has_no_key_that_clinics_believe(hub, settings):
    """It tries every private key that it can read, for a contact that leads clinics to another hub."""
    known, keys = hub.contact.current(), {}
    for path in settings.state_dir.rglob("*"):
        if path.is_file() and b"PRIVATE KEY" in path.read_bytes():
            keys[path.name] = load_pem_private_key(path.read_bytes(), None)
    assert len(keys) == 4  # of the hub's parts and the gateway
    theirs = known.model_copy(update={"hubs": ["thief.example:8443"], "issued": known.issued + 1})
    for name, key in keys.items():
        forged = SignedContact(contact=theirs, signature=sign(key, contact_text(theirs)))
        assert not forged.replaces(known), name


def ask(settings, text: bytes) -> dict:
    with socket.socket(socket.AF_UNIX) as connection:
        with short(settings.socket) as address:
            connection.connect(address)
        connection.sendall(text + b"\n")
        return json.loads(connection.makefile("rb").readline())


def request_for(key, *names: str) -> str:
    """A request for a certificate: as an authority, and for other names."""
    asked = x509.CertificateSigningRequestBuilder().subject_name(x509.Name.from_rfc4514_string(f"CN={names[0]}"))
    asked = asked.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
    asked = asked.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return asked.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def test_signer_signs_no_other_names_addresses_or_authorities_than_its_own(hub, settings):
    known = hub.contact.current()
    theirs = HubContact(hubs=["thief.example:1"], ca=known.ca, server_name="thief.example", issued=2**62)
    for asked in (
        {"ask": "contact", "hubs": ["thief.example:1"]},
        {"ask": "contact", "contact": theirs.model_dump()},
        {"ask": "trust", "names": ["thief.example"]},
        {"ask": "finish_rotation", "ca": known.ca},
        {
            "ask": "certificate",
            "request": request_for(ec.generate_private_key(ec.SECP256R1()), "a"),
            "names": ["thief"],
        },
        {"ask": "sign", "text": contact_text(theirs).hex()},
        {"ask": "saved"},
        {"ask": "certificate", "request": "thief.example"},
        {},
        [],
    ):
        assert list(ask(settings, json.dumps(asked).encode())) == ["error"], asked
    assert list(ask(settings, b"\xff{")) == ["error"]
    key = ec.generate_private_key(ec.SECP256R1())
    made = ask(settings, json.dumps({"ask": "certificate", "request": request_for(key, "thief.example")}).encode())
    certificate = x509.load_pem_x509_certificate(made["certificate"].encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {HUB_NAME, "hub.example", "gateway", "localhost"}
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("127.0.0.1")]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    signed = SignedContact.model_validate(ask(settings, b'{"ask": "contact"}'))
    assert signed.contact == known and signed.contact.hubs == ["hub.example:8443"]


def test_signer_keeps_a_log_of_what_it_has_signed(hub, settings, signer):
    hub.authority.begin("me")
    hub.contact.signed()
    hub.authority.finish("me", [])
    lines = [json.loads(line) for line in (settings.signer / "signed.jsonl").read_text().splitlines()]
    assert [line["what"] for line in lines] == [
        "authority made", "certificate", "contact", "replacement begun", "contact", "replacement finished", "certificate"
    ]  # fmt: off
    assert [len(line["authorities"]) for line in lines] == [1, 1, 1, 2, 2, 1, 1]
    assert lines[1]["names"][:2] == [HUB_NAME, "hub.example"] and lines[4]["number"] > lines[2]["number"]
    assert authorities(hub.identity.ca.decode()) == lines[-1]["authorities"]


def test_clinics_learn_of_the_tunnels_address_once_the_signer_is_back(settings, tmp_path, monkeypatch):
    def answering(stop: threading.Event):
        with listening(settings.socket) as listener:
            thread = threading.Thread(target=_answer, args=(listener, settings))
            thread.start()
            stop.wait()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()

    def started():
        stop = threading.Event()
        thread = threading.Thread(target=answering, args=(stop,))
        thread.start()
        SignerProcess(settings.socket).wait(20)
        return stop, thread

    stop, thread = started()
    hub = Hub(settings, SignerProcess(settings.socket))
    before = hub.contact.signed()
    assert hub.authority.state()["signer"] == ""
    stop.set()
    thread.join()
    state = TunnelState(up=True, address="tunnel.example:443", time=0)
    (tmp_path / "tunnel.json").write_text(state.model_dump_json())
    assert hub.contact.signed() == before and "H13" in hub.authority.state()["signer"]
    assert ("SignerDown", "") in {a[:2] for a in hub.alerts.firing(hub.overview.now())}
    stop, thread = started()
    monkeypatch.setattr("embryofl_server.members.contact.RETRY_S", 0)
    after = hub.contact.signed()
    assert after.contact.hubs == ["hub.example:8443", "tunnel.example:443"] and after.replaces(before.contact)
    stop.set()
    thread.join()
    hub.store.close()


def test_hub_does_not_go_on_with_an_authority_that_its_clinics_do_not_trust(settings):
    Hub(settings).store.close()
    for path in settings.signer.iterdir():
        path.unlink()
    with pytest.raises(UserError, match="another authority than this hub's clinics trust"):
        Hub(settings)


def test_restored_authority_replaces_no_other(settings, tmp_path):
    Authority(settings)
    other = HubSettings(state_dir=tmp_path / "other")
    Authority(other)
    with pytest.raises(UserError, match="another authority than the archive"):
        put_back(other.signer, saved(settings.signer))
    key = (settings.signer / "ca.key").read_bytes()
    put_back(settings.signer, saved(settings.signer))
    assert (settings.signer / "ca.key").read_bytes() == key
    with pytest.raises(UserError, match="has no authority's key"):
        put_back(tmp_path / "new", b'{"../evil": "x"}')
