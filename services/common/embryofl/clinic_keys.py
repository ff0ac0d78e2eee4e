"""Clinics' keys: elliptic curve keys as OpenSSH lines, their fingerprints, and ECDSA signatures with SHA-256; also those
of the hub's authorities, which are known by their certificates."""

import base64
import hashlib

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key
from cryptography.x509 import load_pem_x509_certificates

CURVES = ("secp384r1", "secp256r1")


def public_key(line: str) -> ec.EllipticCurvePublicKey:
    """The key in an OpenSSH line; `ValueError` when it holds none, or one of another kind than `CURVES`."""
    try:
        key = load_ssh_public_key(line.encode())
    except (UnsupportedAlgorithm, NotImplementedError) as exc:  # the latter: a compressed point
        raise ValueError("a key of another kind") from exc
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise ValueError("a key of another kind")
    return key


def openssh(key: ec.EllipticCurvePrivateKey) -> str:
    """A key's public half as one OpenSSH line."""
    return _line(key.public_key())


def canonical(line: str) -> str:
    """A key's OpenSSH line in its one spelling, of many that are read as the same key; raises as `public_key`."""
    return _line(public_key(line))


def _line(key: ec.EllipticCurvePublicKey) -> str:
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def fingerprint(line: str) -> str:
    """Of the key in an OpenSSH line, as `ssh-keygen -l` prints it."""
    digest = hashlib.sha256(base64.b64decode(line.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).rstrip(b"=").decode()


def sign(key: ec.EllipticCurvePrivateKey, text: bytes) -> str:
    """A signature of `text`, hexadecimal."""
    return key.sign(text, ec.ECDSA(SHA256())).hex()


def signed_by(line: str, signature: str, text: bytes) -> bool:
    """Whether this is a signature, hexadecimal, of `text` by the key in an OpenSSH line; not if that is not a key."""
    try:
        return _fits(public_key(line), signature, text)
    except ValueError:
        return False


def authorities(certificates: str) -> list[str]:
    """SHA-256 of each of these certificates (PEM, one after the other), hexadecimal; empty if there is none."""
    try:
        return [
            certificate.fingerprint(SHA256()).hex() for certificate in load_pem_x509_certificates(certificates.encode())
        ]
    except ValueError:
        return []


def signed_by_authority(certificates: str, signature: str, text: bytes) -> bool:
    """Whether this is a signature, hexadecimal, of `text` by the key of one of these certificates (PEM, one after the
    other); not if there is none."""
    try:
        keys = [certificate.public_key() for certificate in load_pem_x509_certificates(certificates.encode())]
    except ValueError:
        return False
    return any(isinstance(key, ec.EllipticCurvePublicKey) and _fits(key, signature, text) for key in keys)


def _fits(key: ec.EllipticCurvePublicKey, signature: str, text: bytes) -> bool:
    try:
        key.verify(bytes.fromhex(signature), text, ec.ECDSA(SHA256()))
    except (ValueError, InvalidSignature):
        return False
    return True
