"""Clinics' keys: elliptic curve keys as OpenSSH lines, their fingerprints, and ECDSA signatures with SHA-256; also those
of the hub's authorities, which are known by their certificates. And a clinic's certificate for TLS."""

import base64
import datetime
import hashlib

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_public_key,
)
from cryptography.x509 import CertificateBuilder, Name, load_pem_x509_certificates, random_serial_number

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


def gateway_digest(line: str) -> str:
    """Of the key in an OpenSSH line, as the gateway names the key of a TLS certificate (Caddy's `public_key_sha256`):
    SHA-256 of its point, hexadecimal. Raises as `public_key`."""
    point = public_key(line).public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return hashlib.sha256(point).hexdigest()


def certificate(key: ec.EllipticCurvePrivateKey) -> str:
    """A certificate for TLS and its key, PEM. The key signs it, and it does not expire: the gateway reads nothing of it but
    the key, which the hub has enrolled."""
    name, begin = Name.from_rfc4514_string("CN=EmbryoFL clinic"), datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
    end = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)  # RFC 5280: has no end
    made = CertificateBuilder(name, name, key.public_key(), random_serial_number(), begin, end).sign(key, SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return (private + made.public_bytes(Encoding.PEM)).decode()


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
