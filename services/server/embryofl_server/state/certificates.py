"""Certificates: authorities, and what they sign. All keys are EC P-256 (an RSA key costs the SuperLink much CPU)."""

import datetime
import ipaddress
import secrets
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from embryofl.files import write_atomic

CA_YEARS = 10
RENEW_DAYS = 60  # a certificate with less left, or less than half of its life, is renewed
INTERNAL = ("localhost", "127.0.0.1")
BACKDATED = datetime.timedelta(days=1)  # for clinics whose clock is behind


def new_key() -> ec.EllipticCurvePrivateKey:
    """A new private key."""
    return ec.generate_private_key(ec.SECP256R1())


def read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The private key in a PEM file."""
    key = load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} is not an EC key")
    return key


def write_pair(key_path: Path, key: ec.EllipticCurvePrivateKey, path: Path, certificate: bytes) -> None:
    """Write a key, for its owner only, and its certificate (PEM)."""
    write_atomic(key_path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
    write_atomic(path, certificate)


def ensure_authority(folder: Path, stem: str, whose: str) -> bool:
    """Make an authority's key and certificate, unless both are there; whether they were made."""
    key_path, path = folder / f"{stem}.key", folder / f"{stem}.crt"
    if key_path.exists() and path.exists():
        return False
    key, name = new_key(), common_name(f"EmbryoFL {whose} {secrets.token_hex(4)}")
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = _builder(key.public_key(), name, name, 365 * CA_YEARS, ca=True).add_extension(identifier, critical=False)
    write_pair(key_path, key, path, builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    return True


def issue(
    folder: Path, authority: str, key: ec.EllipticCurvePublicKey, stem: str, names: Sequence[str], days: float
) -> x509.Certificate:
    """A server's certificate for this key.

    Parameters
    ----------
    folder : Path
        With the authority's key and certificate.
    authority : str
        Their name without suffix.
    key : ec.EllipticCurvePublicKey
    stem : str
        The certificate's common name, which nothing goes by.
    names : sequence of str
        Names and addresses for which it is valid.
    days : float
        How long it is valid.
    """
    ca, ca_key = (
        x509.load_pem_x509_certificate((folder / f"{authority}.crt").read_bytes()),
        read_key(folder / f"{authority}.key"),
    )
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    builder = (
        _builder(key, common_name(stem), ca.subject, days, ca=False)
        .add_extension(x509.SubjectAlternativeName([general_name(n) for n in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(issuer, critical=False)
    )
    return builder.sign(ca_key, hashes.SHA256())


def _builder(
    key: ec.EllipticCurvePublicKey, subject: x509.Name, issuer: x509.Name, days: float, *, ca: bool
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .add_extension(usage, critical=True)
    )


def common_name(text: str) -> x509.Name:
    """A name that consists of this text."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def general_name(name: str) -> x509.GeneralName:
    """A host name or an IP address as a certificate holds it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def still_good(pem: bytes, names: Sequence[str], ca: x509.Certificate) -> bool:
    """Whether a certificate is this authority's, for these names, and not due to be renewed."""
    certificate = x509.load_pem_x509_certificate(pem)
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    end = certificate.not_valid_after_utc
    life = end - certificate.not_valid_before_utc - BACKDATED
    least = min(life / 2, datetime.timedelta(days=RENEW_DAYS))
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return end - datetime.datetime.now(datetime.UTC) >= least and set(san) == {general_name(n) for n in names}
