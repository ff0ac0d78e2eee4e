"""Clinics' public keys: checks signatures and prints fingerprints."""

import base64

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_public_key,
    ssh_key_fingerprint,
)

CURVES = ("secp384r1", "secp256r1")


def signed_by(public_key: str, proof: str, text: bytes) -> bool:
    """Whether `proof` (hexadecimal) is the ECDSA signature with SHA-256 of `text` by an accepted EC key (`CURVES`).

    Parameters
    ----------
    public_key : str
        One OpenSSH line. Anything else, and another kind of key, gives False.
    """
    key = _load(public_key)
    if key is None:
        return False
    try:
        key.verify(bytes.fromhex(proof), text, ec.ECDSA(SHA256()))
    except (ValueError, InvalidSignature):
        return False
    return True


def canonical(public_key: str) -> str:
    """An accepted EC key as its canonical OpenSSH line, without comment: one key can be written in many ways, and a
    revocation must hold for all of them. "" for anything else."""
    key = _load(public_key)
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() if key else ""


def _load(public_key: str) -> ec.EllipticCurvePublicKey | None:
    try:
        key = load_ssh_public_key(public_key.encode())
    except (ValueError, UnsupportedAlgorithm, NotImplementedError):  # the last: a compressed point
        return None
    return key if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in CURVES else None


def fingerprint(public_key: str) -> str:
    """As `ssh-keygen -l` prints it; "" for anything but an accepted key."""
    key = _load(public_key)
    return "SHA256:" + base64.b64encode(ssh_key_fingerprint(key, SHA256())).rstrip(b"=").decode() if key else ""
