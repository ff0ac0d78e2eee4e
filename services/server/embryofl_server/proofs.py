"""Clinics' public keys: whether something is signed by one, and its fingerprint."""

import base64
import binascii
import hashlib

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

CURVES = ("secp384r1", "secp256r1")


def signed_by(public_key: str, proof: str, text: bytes) -> bool:
    """Whether `proof` (hexadecimal) is the ECDSA signature with SHA-256 of `text` by an EC key that we take.

    Parameters
    ----------
    public_key : str
        One OpenSSH line. Anything else, and another kind of key, gives False.
    """
    try:
        key = load_ssh_public_key(public_key.encode())
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
            return False
        key.verify(bytes.fromhex(proof), text, ec.ECDSA(SHA256()))
    except (ValueError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def fingerprint(public_key: str) -> str:
    """As `ssh-keygen -l` prints it; "" for what is no OpenSSH line."""
    try:
        blob = base64.b64decode(public_key.split()[1], validate=True)
    except (IndexError, binascii.Error):
        return ""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).rstrip(b"=").decode()
