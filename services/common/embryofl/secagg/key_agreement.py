"""Keys: from seeds, and between two clinics. X25519 (RFC 7748), then HKDF-SHA256 (RFC 5869) with the roster as its salt.

The roster's digest covers run, round, attempt, model, weights and all keys of the attempt. Two clinics that were shown
different rosters therefore derive different keys: their masks do not cancel, and their letters cannot be opened.
"""

import hashlib

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from embryofl.errors import ProtocolError
from embryofl.secagg.messages import VERSION

SEED = 16
"""Bytes of a seed: the secret that is shared. Shamir's scheme in pycryptodome works on 16 bytes."""


def key_from_seed(seed: bytes) -> X25519PrivateKey:
    """The private key for pairwise masks that a seed stands for."""
    return X25519PrivateKey.from_private_bytes(HKDF(SHA256(), 32, None, f"{VERSION} mask key".encode()).derive(seed))


def public_text(key: X25519PrivateKey) -> str:
    """The public key, hexadecimal."""
    return key.public_key().public_bytes_raw().hex()


def seed_commitment(seed: bytes) -> str:
    """SHA-256 of a seed, hexadecimal. A seed is random and long enough that nothing else is needed to hide it."""
    return hashlib.sha256(f"{VERSION} seed\n".encode() + seed).hexdigest()


def self_mask_key(seed: bytes, roster: str, name: str) -> bytes:
    """The key of a clinic's own mask, 32 bytes.

    Parameters
    ----------
    seed : bytes
    roster : str
        `Roster.digest`.
    name : str
    """
    return _derive(seed, roster, "self", name)


def pair_mask_key(private: X25519PrivateKey, public: str, roster: str, name: str, peer: str) -> bytes:
    """The key of the mask that two clinics share, 32 bytes, the same on both sides."""
    return _derive(_agree(private, public, peer), roster, "pair", *sorted((name, peer)))


def letter_key(private: X25519PrivateKey, public: str, roster: str, sender: str, recipient: str) -> bytes:
    """The key of the letter from one clinic to another, 32 bytes; `private` is of one side, `public` of the other."""
    return _derive(_agree(private, public, ""), roster, "letter", sender, recipient)


def check_key(public: str, clinic: str) -> None:
    """Check that a public key leads to a secret.

    Raises
    ------
    ProtocolError
        When it is of low order: everybody would know what is agreed on with it.
    """
    _agree(_PROBE, public, clinic)


def _agree(private: X25519PrivateKey, public: str, clinic: str) -> bytes:
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(public)))
    except ValueError:
        raise ProtocolError(
            f"the public key {public}, expected one of X25519 that is not of low order", clinic
        ) from None


def _derive(secret: bytes, roster: str, *use: str) -> bytes:
    info = "\n".join((VERSION, *use)).encode()  # names hold no line breaks
    return HKDF(SHA256(), 32, bytes.fromhex(roster), info).derive(secret)


_PROBE = X25519PrivateKey.from_private_bytes(bytes(32))  # any: with a key of low order all private keys agree on zero
