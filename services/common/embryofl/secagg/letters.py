"""Letters: a clinic's shares for another one, encrypted with AES-256-GCM."""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from embryofl.errors import ProtocolError
from embryofl.secagg.key_agreement import SEED, letter_key
from embryofl.secagg.messages import Letter
from embryofl.secagg.shares import SeedShares, share_commitment

NONCE = 12  # bytes


def seal(
    private: X25519PrivateKey, public: str, roster: str, sender: str, recipient: str, shares: SeedShares
) -> Letter:
    """The letter from `sender`, whose key is `private`, to `recipient`, whose key is `public`, with two shares."""
    self_commitment, pair_commitment = _commitments(roster, sender, recipient, shares)
    frame = _frame(roster, sender, recipient, self_commitment, pair_commitment)
    nonce = secrets.token_bytes(NONCE)
    cipher = AESGCM(letter_key(private, public, roster, sender, recipient))
    sealed = nonce + cipher.encrypt(nonce, shares.self_seed + shares.pair_seed, frame)
    return Letter(sealed=sealed.hex(), self_commitment=self_commitment, pair_commitment=pair_commitment)


def unseal(
    private: X25519PrivateKey, public: str, roster: str, sender: str, recipient: str, letter: Letter
) -> SeedShares:
    """The shares in a letter from `sender`, whose key is `public`, to `recipient`, whose key is `private`.

    Raises
    ------
    ProtocolError
        When it cannot be opened: it was changed, or is of another attempt, sender or recipient. Or when it holds other
        shares than the sender committed to.
    """
    sealed = bytes.fromhex(letter.sealed)
    frame = _frame(roster, sender, recipient, letter.self_commitment, letter.pair_commitment)
    try:
        opened = AESGCM(letter_key(private, public, roster, sender, recipient)).decrypt(
            sealed[:NONCE], sealed[NONCE:], frame
        )
    except InvalidTag:
        raise ProtocolError(
            f"the letter from {sender} to {recipient} cannot be opened, expected one of this attempt, unchanged", sender
        ) from None
    shares = SeedShares(opened[:SEED], opened[SEED:])
    if _commitments(roster, sender, recipient, shares) != (letter.self_commitment, letter.pair_commitment):
        raise ProtocolError(
            f"the letter from {sender} to {recipient} holds other shares than those that {sender} committed to", sender
        )
    return shares


def _commitments(roster: str, sender: str, recipient: str, shares: SeedShares) -> tuple[str, str]:
    return (
        share_commitment(roster, sender, recipient, "self", shares.self_seed),
        share_commitment(roster, sender, recipient, "pair", shares.pair_seed),
    )


def _frame(*parts: str) -> bytes:
    """What a letter is bound to; the hub sees it."""
    return "\n".join(parts).encode()
