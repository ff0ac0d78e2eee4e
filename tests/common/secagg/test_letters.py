"""Letters and shares: a letter opens for its recipient alone, unchanged, and holds what its sender committed to."""

from itertools import combinations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from embryofl.errors import ProtocolError
from embryofl.secagg.key_agreement import letter_key, public_text
from embryofl.secagg.letters import NONCE, seal, unseal
from embryofl.secagg.shares import SeedShares, rebuild, share_commitment, split
from kits.secagg import revised

ROSTER, OTHER_ROSTER = "ab" * 32, "cd" * 32
KEYS = {name: X25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n, name in enumerate(["anna", "bert", "cleo"])}
PUBLIC = {name: public_text(key) for name, key in KEYS.items()}
SHARES = SeedShares(bytes(range(16)), bytes(range(16, 32)))


def sealed(sender="anna", recipient="bert", shares=SHARES):
    return seal(KEYS[sender], PUBLIC[recipient], ROSTER, sender, recipient, shares)


def opened(letter, sender="anna", recipient="bert", roster=ROSTER):
    return unseal(KEYS[recipient], PUBLIC[sender], roster, sender, recipient, letter)


def test_letter_opens_for_its_recipient_also_if_that_is_its_sender():
    assert opened(sealed()) == SHARES
    assert opened(sealed(recipient="anna"), recipient="anna") == SHARES


@pytest.mark.parametrize(
    "how",
    [
        {"recipient": "cleo"},  # for another clinic
        {"sender": "cleo"},  # from another clinic
        {"sender": "bert", "recipient": "anna"},  # sent back
        {"roster": OTHER_ROSTER},  # of another attempt
    ],
)
def test_letter_that_is_passed_on_elsewhere_cannot_be_opened(how):
    with pytest.raises(ProtocolError, match="cannot be opened") as caught:
        opened(sealed(), **how)
    assert caught.value.clinic == how.get("sender", "anna")


@pytest.mark.parametrize("field", ["sealed", "self_commitment", "pair_commitment"])
def test_letter_that_was_changed_cannot_be_opened(field):
    letter = sealed()
    value = getattr(letter, field)
    for place in (0, 30, len(value) - 1):
        other = "0" if value[place] != "0" else "1"
        with pytest.raises(ProtocolError, match="the letter from anna to bert cannot be opened"):
            opened(revised(letter, **{field: value[:place] + other + value[place + 1 :]}))


def test_letter_with_other_shares_than_its_sender_committed_to_is_rejected():
    """The sender would otherwise make an honest holder look like a liar when it reveals its share."""
    commitments = [share_commitment(ROSTER, "anna", "bert", seed, bytes(16)) for seed in ("self", "pair")]
    frame = "\n".join((ROSTER, "anna", "bert", *commitments)).encode()
    key = letter_key(KEYS["anna"], PUBLIC["bert"], ROSTER, "anna", "bert")
    forged = bytes(NONCE) + AESGCM(key).encrypt(bytes(NONCE), bytes(15) + bytes([1]) + bytes(16), frame)
    letter = revised(sealed(), sealed=forged.hex(), self_commitment=commitments[0], pair_commitment=commitments[1])
    with pytest.raises(ProtocolError, match="other shares than those that anna committed to") as caught:
        opened(letter)
    assert caught.value.clinic == "anna"


def test_letters_of_the_same_shares_never_look_alike():
    assert len({sealed().sealed for _ in range(20)}) == 20


def test_any_shares_as_many_as_the_threshold_rebuild_the_seed_and_fewer_do_not():
    seed = bytes(range(16))
    shares = dict(enumerate(split(seed, 3, 5), 1))
    for places in combinations(shares, 3):
        assert rebuild({place: shares[place] for place in places}) == seed
    assert all(rebuild({place: shares[place] for place in two}) != seed for two in combinations(shares, 2))


def test_seeds_and_shares_with_leading_zeros_keep_their_length():
    shares = split(bytes(16), 3, 4)
    assert {len(s) for s in shares} == {16}
    assert rebuild(dict(enumerate(shares[:3], 1))) == bytes(16)


def test_commitment_to_a_share_is_for_one_owner_holder_seed_and_attempt():
    share = bytes(16)
    commitments = {
        share_commitment(ROSTER, "anna", "bert", "self", share),
        share_commitment(ROSTER, "anna", "bert", "pair", share),
        share_commitment(ROSTER, "bert", "anna", "self", share),
        share_commitment(ROSTER, "anna", "cleo", "self", share),
        share_commitment(OTHER_ROSTER, "anna", "bert", "self", share),
        share_commitment(ROSTER, "anna", "bert", "self", bytes(15) + b"\1"),
    }
    assert len(commitments) == 6
