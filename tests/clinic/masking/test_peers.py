"""Other clinics' keys: pinned when first seen, used as the policy says, never replaced by the hub alone."""

import pytest

from embryofl.clinic_keys import fingerprint
from embryofl.errors import ProtocolError, UserError
from embryofl_clinic.joining.identity import ClinicIdentity
from embryofl_clinic.masking.peers import FILE, Peers, describe_peers


@pytest.fixture
def key_of(tmp_path):
    return lambda name: ClinicIdentity(tmp_path / name).public_key


def test_new_key_waits_for_people_and_is_used_once_they_compared_it(tmp_path, key_of):
    peers, bert = Peers(tmp_path), key_of("bert")
    assert "keys of bert have not been compared" in peers.pin({"bert": bert}, ask=True)
    assert "SHA256:" in describe_peers(peers.read()) and "not compared" in describe_peers(peers.read())
    peers.compare("bert", ClinicIdentity(tmp_path / "bert").fingerprint)
    assert peers.pin({"bert": bert}, ask=True) == ""


def test_first_key_is_taken_as_shown_if_the_policy_says_so(tmp_path, key_of):
    assert Peers(tmp_path).pin({"bert": key_of("bert"), "cleo": key_of("cleo")}, ask=False) == ""


@pytest.mark.parametrize("ask", [True, False])
def test_changed_key_is_not_used_until_people_compared_it(tmp_path, key_of, ask):
    peers, old, new = Peers(tmp_path), key_of("bert"), key_of("somebody")
    peers.pin({"bert": old}, ask=False)
    peers.compare("bert", fingerprint(old))
    assert "changed: bert" in peers.pin({"bert": new}, ask=ask)
    assert peers.read()["bert"].key == old
    assert peers.pin({"bert": old}, ask=ask) == ""  # the hub shows the first one again
    peers.pin({"bert": new}, ask=ask)
    peers.compare("bert", fingerprint(new))
    assert peers.pin({"bert": new}, ask=ask) == "" and peers.read()["bert"].key == new


def test_wrong_fingerprint_changes_nothing(tmp_path, key_of):
    peers = Peers(tmp_path)
    peers.pin({"bert": key_of("bert")}, ask=True)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(UserError, match="Nothing was changed"):
        peers.compare("bert", fingerprint(key_of("cleo")))
    with pytest.raises(UserError, match="has shown no clinic 'dora'"):
        peers.compare("dora", fingerprint(key_of("cleo")))
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize("line", ["", "ssh-rsa AAAA", "ecdsa-sha2-nistp384 AAAA"])
def test_text_that_is_not_a_key_is_not_pinned(tmp_path, line):
    with pytest.raises(ProtocolError, match="no key of bert"):
        Peers(tmp_path).pin({"bert": line}, ask=False)
    assert Peers(tmp_path).read() == {}


def test_damaged_file_is_reported_and_not_replaced(tmp_path, key_of):
    peers = Peers(tmp_path)
    peers.pin({"bert": key_of("bert")}, ask=False)
    (tmp_path / FILE).write_text("{")
    with pytest.raises(UserError, match=r"peers.json cannot be read"):
        peers.pin({"bert": key_of("bert")}, ask=False)
    assert (tmp_path / FILE).read_text() == "{"
