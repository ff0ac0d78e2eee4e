"""The hub's identity: created once, kept, valid for its names, private."""

import datetime
import socket
import ssl
import threading
import time
from types import SimpleNamespace

import pytest

from embryofl.invite import HUB_NAME
from embryofl_server.members.identity import HubIdentity
from embryofl_server.settings import HubSettings
from embryofl_server.state.signer.authority import Authority


def opened(folder, *names: str, days: float = HubSettings().certificate_days) -> HubIdentity:
    """The identity in a folder, with a signer of its own."""
    settings = HubSettings(state_dir=folder, hostnames=",".join(names or ("localhost",)), certificate_days=days)
    return HubIdentity(folder, Authority(settings))


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
    [
        ("gateway", "hub.example"),
        ("gateway", "10.1.2.3"),
        ("gateway", "localhost"),
        ("gateway", "127.0.0.1"),
        ("gateway", HUB_NAME),
        ("superlink", "superlink"),
        ("superlink", "127.0.0.1"),
        ("server", "server"),
        ("server", "localhost"),
    ],
)
def test_each_certificate_is_valid_for_its_names(folder, part, name):
    identity = opened(folder, "hub.example", "10.1.2.3")
    place = folder if part == "server" else folder / part
    trusted = identity.ca if part == "gateway" else identity.internal
    handshake(place / f"{part}.crt", place / f"{part}.key", trusted, name)


def test_certificate_is_invalid_for_other_names_and_other_authorities(folder, tmp_path):
    identity, other = opened(folder, "hub.example"), opened(tmp_path / "other", "hub.example")
    shown = (folder / "gateway" / "gateway.crt", folder / "gateway" / "gateway.key")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(*shown, identity.ca, "evil.example")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(*shown, other.ca, "hub.example")


def test_second_start_changes_nothing(folder):
    first = opened(folder, "hub.example")
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    second = opened(folder, "hub.example")
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert (first.url_key, first.control_token) == (second.url_key, second.control_token)


def test_new_hostname_renews_the_gateways_certificate_but_not_the_authority(folder):
    ca = opened(folder, "hub.example").ca
    others = [(folder / "server.crt").read_bytes(), (folder / "superlink" / "superlink.crt").read_bytes()]
    identity = opened(folder, "hub.example", "new.example")
    assert identity.ca == ca and (folder / "gateway" / "ca.crt").read_bytes() == identity.internal
    assert [(folder / "server.crt").read_bytes(), (folder / "superlink" / "superlink.crt").read_bytes()] == others
    for name in ("hub.example", "new.example"):
        handshake(folder / "gateway" / "gateway.crt", folder / "gateway" / "gateway.key", ca, name)


@pytest.mark.parametrize("restarted", [True, False])
def test_expiring_certificate_is_renewed_at_start_and_while_the_hub_runs(folder, restarted):
    identity = opened(folder, days=3 / 86_400)
    ca, old = identity.ca, shown_by(folder)[0].read_bytes()
    assert not identity.refresh()
    time.sleep(2.5)
    if restarted:
        opened(folder, days=3 / 86_400)
    else:
        assert identity.refresh()
    assert shown_by(folder)[0].read_bytes() != old and identity.ca == ca
    time.sleep(1)  # the old one has expired
    handshake(*shown_by(folder), ca, HUB_NAME)


def test_certificate_of_the_gateway_lasts_thirty_days_and_is_renewed_in_the_middle_of_them(folder, monkeypatch):
    """So that one that a server had made while it was taken over is worth nothing soon after."""
    identity, day = opened(folder), datetime.timedelta(1)

    class Later(datetime.datetime):
        after = 0 * day

        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + cls.after

    clock = SimpleNamespace(datetime=Later, timedelta=datetime.timedelta, UTC=datetime.UTC)
    monkeypatch.setattr("embryofl_server.state.certificates.datetime", clock)
    assert 29.9 < (identity.expires("gateway/gateway.crt") - time.time()) / 86_400 < 30
    ca = identity.ca
    for days, due in ((14, False), (16, True), (30, False), (200, True)):  # at last: the hub was off for half a year
        Later.after = days * day
        assert identity.refresh() is due and identity.ca == ca, days


def shown_by(folder):
    return folder / "gateway" / "gateway.crt", folder / "gateway" / "gateway.key"


def test_both_authorities_are_trusted_during_a_replacement_and_only_the_new_one_after_it(folder):
    identity = opened(folder)
    old = identity.ca
    identity.begin_rotation()
    both = identity.ca
    assert both.startswith(old) and both != old
    handshake(*shown_by(folder), old, HUB_NAME)  # no clinic is locked out yet
    handshake(*shown_by(folder), both, HUB_NAME)
    assert opened(folder).ca == both  # also after a restart
    identity.finish_rotation()
    assert both == old + identity.ca
    for trusted in (both, identity.ca):
        handshake(*shown_by(folder), trusted, HUB_NAME)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(*shown_by(folder), old, HUB_NAME)
    assert not list(folder.glob("ca-next*")) and opened(folder).ca == identity.ca


def test_what_the_hub_says_of_itself_is_believed_from_one_authority_to_the_next_and_never_backwards(folder):
    identity = opened(folder)
    joined = first = identity.signer.contact()
    assert identity.signer.contact() == first  # nothing has changed
    identity.begin_rotation()
    both = identity.signer.contact()
    assert both.replaces(joined.contact) and both.contact.ca.count("BEGIN") == 2
    identity.finish_rotation()
    new = identity.signer.contact()
    assert new.replaces(both.contact) and not new.replaces(joined.contact)  # one that was away needs a reconnect invite
    assert not both.replaces(new.contact) and not first.replaces(new.contact)
    changed = new.contact.model_copy(update={"hubs": ["thief:1"]})
    assert not new.model_copy(update={"contact": changed}).replaces(both.contact)


def test_later_statements_have_higher_numbers_though_the_hubs_clock_goes_back(folder, monkeypatch):
    first = opened(folder, "a").signer.contact().contact.issued
    monkeypatch.setattr("embryofl_server.state.signer.authority.time.time", lambda: 1.0)
    later = [opened(folder, name).signer.contact().contact for name in ("b", "c")]
    assert [(c.hubs, c.issued) for c in later] == [(["b:8443"], first + 1), (["c:8443"], first + 2)]


def test_hub_killed_while_replacing_its_authority_finishes_at_the_next_start(folder):
    identity = opened(folder)
    identity.begin_rotation()
    new, signer = (folder / "ca-next.crt").read_bytes(), folder.with_name("identity-signer")
    (signer / "ca-next.key").replace(signer / "ca.key")  # the signer was killed here
    again = opened(folder)
    assert again.ca == new and not again.rotating
    handshake(*shown_by(folder), new, HUB_NAME)


def test_lost_internal_authority_is_recreated_and_the_clinics_authority_is_kept(folder):
    identity = opened(folder)
    for stem in ("internal.key", "internal.crt"):
        (folder / stem).unlink()
    again = opened(folder)
    assert again.ca == identity.ca
    handshake(folder / "server.crt", folder / "server.key", again.internal, "server")


def test_keys_and_secrets_are_readable_by_their_owner_only(folder):
    opened(folder)
    private = [p for p in folder.rglob("*") if p.suffix in (".key", ".secret", ".token")]
    assert len(private) == 10 and all(p.stat().st_mode & 0o777 == 0o600 for p in private)


def test_gateway_and_superlink_can_read_only_what_they_need(folder):
    opened(folder)
    assert {p.name for p in (folder / "gateway").iterdir()} == {"gateway.crt", "gateway.key", "ca.crt"}
    assert {p.name for p in (folder / "superlink").iterdir()} == {
        "superlink.crt",
        "superlink.key",
        "ca.crt",
        "superexec.secret",
    }


def test_two_hubs_have_nothing_in_common(tmp_path):
    a, b = opened(tmp_path / "a"), opened(tmp_path / "b")
    assert a.ca != b.ca and a.url_key != b.url_key and a.superexec_secret != b.superexec_secret
    assert len(a.control_token) == 64 and a.control_token != b.control_token
