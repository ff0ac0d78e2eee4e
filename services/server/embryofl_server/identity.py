"""The hub's own identity: certificate authority, TLS certificates, secrets. Made at first start, kept ever after.

All keys are EC P-256 (an RSA key costs the SuperLink much CPU). Layout below the state folder:

    identity/ca.key, ca.crt          the authority every clinic trusts
    identity/server.crt, server.key  the server's own API (hub network)
    identity/url.key, control.token  signs weight URLs; opens the control API
    identity/superlink/              what the SuperLink may read: its certificate and the SuperExec secret
    identity/gateway/                what the gateway may read: its certificate
"""

import datetime
import ipaddress
import secrets
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from embryofl.files import write_atomic

CA_YEARS, SERVER_DAYS = 10, 397
RENEW_DAYS = 30  # a server certificate with less left is made anew at the next start
INTERNAL = ("localhost", "127.0.0.1")


class Identity:
    """Paths and secrets of one hub; missing pieces are made when it is opened.

    Parameters
    ----------
    folder : Path
        `identity/` below the hub's state folder.
    hostnames : list of str
        Names and IP addresses under which clinics reach the gateway (its certificate's SAN).
    """

    def __init__(self, folder: Path, hostnames: list[str]) -> None:
        self.folder = folder
        self.superlink, self.gateway = folder / "superlink", folder / "gateway"
        for sub in (folder, self.superlink, self.gateway):
            sub.mkdir(parents=True, exist_ok=True)
        self._ensure_ca()
        self._ensure_certificate(folder, "server", ["server", *INTERNAL])
        self._ensure_certificate(self.superlink, "superlink", ["superlink", *INTERNAL])
        self._ensure_certificate(self.gateway, "gateway", list(dict.fromkeys([*hostnames, "gateway", *INTERNAL])))
        for sub in (self.superlink, self.gateway):
            if not (sub / "ca.crt").exists() or (sub / "ca.crt").read_bytes() != self.ca:
                write_atomic(sub / "ca.crt", self.ca)
        self.superexec_secret = self._secret(self.superlink / "superexec.secret", 32)
        self.url_key = self._secret(folder / "url.key", 32)
        self.control_token = self._secret(folder / "control.token", 32).hex()

    @property
    def ca(self) -> bytes:
        """The authority's certificate, PEM."""
        return (self.folder / "ca.crt").read_bytes()

    @property
    def certificate(self) -> tuple[Path, Path]:
        """Certificate and key file of the server's own API."""
        return self.folder / "server.crt", self.folder / "server.key"

    def expires(self, file: str) -> float:
        """When a certificate ends, Unix time in seconds."""
        return x509.load_pem_x509_certificate((self.folder / file).read_bytes()).not_valid_after_utc.timestamp()

    @staticmethod
    def _secret(path: Path, size: int) -> bytes:
        if not path.exists():
            write_atomic(path, secrets.token_bytes(size), mode=0o600)
        return path.read_bytes()

    def _ensure_ca(self) -> None:
        key_path, crt_path = self.folder / "ca.key", self.folder / "ca.crt"
        if key_path.exists() and crt_path.exists():
            return
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"EmbryoFL hub {secrets.token_hex(4)}")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=365 * CA_YEARS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_usage(ca=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        _write_key(key_path, key)
        write_atomic(crt_path, certificate.public_bytes(Encoding.PEM))

    def _ensure_certificate(self, folder: Path, stem: str, names: list[str]) -> None:
        path = folder / f"{stem}.crt"
        if path.exists() and _still_good(path.read_bytes(), names):
            return
        ca_key = load_pem_private_key((self.folder / "ca.key").read_bytes(), None)
        if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
            raise TypeError("identity/ca.key is not an EC key")
        ca = x509.load_pem_x509_certificate(self.ca)
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, stem)]))
            .issuer_name(ca.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=SERVER_DAYS))
            .add_extension(x509.SubjectAlternativeName([_general(n) for n in names]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        _write_key(folder / f"{stem}.key", key)
        write_atomic(path, certificate.public_bytes(Encoding.PEM))


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
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


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_atomic(path, pem, mode=0o600)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _still_good(pem: bytes, names: list[str]) -> bool:
    certificate = x509.load_pem_x509_certificate(pem)
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return left.days >= RENEW_DAYS and set(san) == {_general(n) for n in names}
