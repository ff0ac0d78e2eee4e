"""Other clinics' keys: pinned when first seen, used as the policy says, never replaced by the hub alone."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from embryofl.clinic_keys import fingerprint, openssh
from embryofl.errors import ProtocolError, UserError
from embryofl_clinic.joining.identity import ClinicIdentity
from embryofl_clinic.masking.peers import FILE, Peers, describe_peers
from kits.enrolment import HUB, key_change

OLD, NEW, NEWER, STRANGER = (ec.generate_private_key(ec.SECP384R1()) for _ in range(4))


@pytest.fixture
def key_of(tmp_path):
    return lambda name: ClinicIdentity(tmp_path / name).public_key


def test_new_key_waits_for_people_and_is_used_once_they_compared_it(tmp_path, key_of):
    peers, bert = Peers(tmp_path), key_of("bert")
    assert "keys of bert have not been compared" in peers.pin({"bert": bert}, {}, ask=True)
    assert "SHA256:" in describe_peers(peers.read()) and "not compared" in describe_peers(peers.read())
    peers.compare("bert", ClinicIdentity(tmp_path / "bert").fingerprint)
    assert peers.pin({"bert": bert}, {}, ask=True) == ""


def test_first_key_is_taken_as_shown_if_the_policy_says_so(tmp_path, key_of):
    assert Peers(tmp_path).pin({"bert": key_of("bert"), "cleo": key_of("cleo")}, {}, ask=False) == ""


@pytest.mark.parametrize("ask", [True, False])
def test_changed_key_is_not_used_until_people_compared_it(tmp_path, key_of, ask):
    peers, old, new = Peers(tmp_path), key_of("bert"), key_of("somebody")
    peers.pin({"bert": old}, {}, ask=False)
    peers.compare("bert", fingerprint(old))
    assert "changed: bert" in peers.pin({"bert": new}, {}, ask=ask)
    assert peers.read()["bert"].key == old
    assert peers.pin({"bert": old}, {}, ask=ask) == ""  # the hub shows the first one again
    peers.pin({"bert": new}, {}, ask=ask)
    peers.compare("bert", fingerprint(new))
    assert peers.pin({"bert": new}, {}, ask=ask) == "" and peers.read()["bert"].key == new


@pytest.fixture
def compared(tmp_path):
    """Bert's and cleo's old keys are pinned and compared."""
    peers = Peers(tmp_path)
    for name, key in (("bert", openssh(OLD)), ("cleo", openssh(STRANGER))):
        peers.pin({name: key}, {}, ask=True)
        peers.compare(name, fingerprint(key))
    return peers


def test_key_that_the_old_one_has_signed_takes_its_place_and_stays_compared(compared, caplog):
    compared.pin({"bert": openssh(NEW)}, {}, ask=True)  # first without the proof
    assert compared.pin({"bert": openssh(NEW)}, {"bert": [key_change(OLD, NEW, "bert")]}, [HUB], ask=True) == ""
    bert = compared.read()["bert"]
    assert (bert.key, bert.compared, bert.other_key) == (openssh(NEW), True, "")
    assert f"bert has changed its key: now {fingerprint(openssh(NEW))}" in caplog.text
    assert "compared; changed its key on" in describe_peers(compared.read()).splitlines()[0]
    assert compared.pin({"bert": openssh(NEW)}, {}, ask=True) == ""


def test_several_changes_since_the_last_run_are_followed_from_the_pinned_key(compared):
    earlier = key_change(STRANGER, OLD, "bert")
    changes = [earlier, key_change(OLD, NEW, "bert"), key_change(NEW, NEWER, "bert")]
    assert compared.pin({"bert": openssh(NEWER)}, {"bert": changes}, [HUB], ask=True) == ""
    assert compared.read()["bert"].key == openssh(NEWER)


def test_new_key_of_a_clinic_that_was_not_compared_still_waits_for_people(tmp_path):
    peers = Peers(tmp_path)
    peers.pin({"bert": openssh(OLD)}, {}, ask=True)
    assert "keys of bert have not been compared" in peers.pin(
        {"bert": openssh(NEW)}, {"bert": [key_change(OLD, NEW, "bert")]}, [HUB], ask=True
    )
    assert peers.read()["bert"].key == openssh(NEW) and not peers.read()["bert"].compared


@pytest.mark.parametrize("ask", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        [key_change(STRANGER, NEW, "bert")],
        [key_change(OLD, NEW, "bert", proof=key_change(OLD, NEW, "bert", asked=1.0).proof)],
        [key_change(OLD, NEW, "bert", new_proof=key_change(OLD, STRANGER, "bert", asked=1.0).new_proof)],
        [key_change(OLD, STRANGER, "bert").model_copy(update={"public_key": openssh(NEW)})],  # replayed for another key
        [key_change(OLD, NEW, "cleo")],
        [key_change(OLD, NEW, "cleo").model_copy(update={"name": "bert"})],
        [key_change(OLD, NEWER, "bert")],
        [key_change(NEWER, NEW, "bert")],
        [key_change(NEW, NEWER, "bert"), key_change(OLD, NEW, "cleo")],
        [key_change(NEW, OLD, "bert")],
        [key_change(OLD, NEW, "bert", authority="b" * 64)],
        [key_change(OLD, NEW, "bert", authority="b" * 64).model_copy(update={"authority": HUB})],
    ],
    ids=[
        *("forged", "proof", "new proof", "key", "other clinic", "renamed", "other key", "gap", "order", "back"),
        *("other hub", "other hub that says it is this one"),
    ],
)
def test_changed_key_that_the_pinned_one_has_not_signed_waits_for_people(compared, changes, ask):
    before = compared.read()["bert"].key
    assert "changed: bert" in compared.pin({"bert": openssh(NEW)}, {"bert": changes}, [HUB], ask=ask)
    assert compared.read()["bert"].key == before


def test_key_does_not_go_back_to_one_that_it_has_replaced(compared):
    change = key_change(OLD, NEW, "bert")
    compared.pin({"bert": openssh(NEW)}, {"bert": [change]}, [HUB], ask=True)
    assert "changed: bert" in compared.pin({"bert": openssh(OLD)}, {"bert": [change]}, [HUB], ask=True)
    assert compared.read()["bert"].key == openssh(NEW)


def test_change_of_another_clinics_key_is_not_taken_for_this_ones(compared):
    """The hub shows cleo's place with bert's new key, and bert's change with it."""
    change = key_change(OLD, NEW, "bert")
    assert "changed: cleo" in compared.pin({"cleo": openssh(NEW)}, {"cleo": [change]}, [HUB], ask=True)


def test_wrong_fingerprint_changes_nothing(tmp_path, key_of):
    peers = Peers(tmp_path)
    peers.pin({"bert": key_of("bert")}, {}, ask=True)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(UserError, match="Nothing was changed"):
        peers.compare("bert", fingerprint(key_of("cleo")))
    with pytest.raises(UserError, match="has shown no clinic 'dora'"):
        peers.compare("dora", fingerprint(key_of("cleo")))
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize("line", ["", "ssh-rsa AAAA", "ecdsa-sha2-nistp384 AAAA"])
def test_text_that_is_not_a_key_is_not_pinned(tmp_path, line):
    with pytest.raises(ProtocolError, match="no key of bert"):
        Peers(tmp_path).pin({"bert": line}, {}, ask=False)
    assert Peers(tmp_path).read() == {}


def test_damaged_file_is_reported_and_not_replaced(tmp_path, key_of):
    peers = Peers(tmp_path)
    peers.pin({"bert": key_of("bert")}, {}, ask=False)
    (tmp_path / FILE).write_text("{")
    with pytest.raises(UserError, match=r"peers.json cannot be read"):
        peers.pin({"bert": key_of("bert")}, {}, ask=False)
    assert (tmp_path / FILE).read_text() == "{"
