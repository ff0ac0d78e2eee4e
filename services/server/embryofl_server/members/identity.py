"""The hub's identity: certificate authorities (CAs), TLS certificates, secrets. Made at the first start and kept.

There are two CAs, so that the clinics' CA can be replaced while everything runs: clinics trust `ca` and, during a
replacement, `ca-next` too; the parts of the hub trust each other by `internal`. The gateway's certificate carries the hub's
own name (`HUB_NAME`), which clinics check whatever address they dial.

All keys are EC P-256 (an RSA key costs the SuperLink much CPU). Layout below the state folder:

    identity/ca.key, ca.crt              the CA that every clinic trusts; signs the gateway's certificate
    identity/ca-next.key, ca-next.crt    the CA that is about to replace it, during a replacement
    identity/internal.key, internal.crt  the CA of the hub's parts
    identity/server.crt, server.key      the server's own API (hub network)
    identity/url.key, control.token  signs weight URLs; opens the control API
    identity/contact.issued          number of the newest statement about how clinics reach and trust this hub
    identity/audit.key, audit.pub    signs the lines of the audit log
    identity/superlink/              what the SuperLink may read: its certificate and the SuperExec secret
    identity/gateway/                what the gateway may read: its certificate, and whom it lets through (`GatewayKeys`)
    identity/console/                what the console may read: a copy of internal.crt, a token of its own, who is logged in
"""

import datetime
import ipaddress
import secrets
import threading
import time
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from embryofl.clinic_keys import sign
from embryofl.files import sync_folder, write_atomic
from embryofl.invite import HUB_NAME
from embryofl.membership import HubContact, SignedContact, contact_text

CA_YEARS, PARTS_DAYS = 10, 3650
GATEWAY_DAYS = 360.0  # Mozilla asks for less than 366
RENEW_DAYS = 60  # a certificate with less left, or less than a third of its life, is renewed
INTERNAL = ("localhost", "127.0.0.1")
BACKDATED = datetime.timedelta(days=1)  # for clinics whose clock is behind


class HubIdentity:
    """Paths and secrets of one hub; missing pieces are made when it is opened.

    Parameters
    ----------
    folder : Path
        `identity/` below the hub's state folder.
    hostnames : list of str
        Names and IP addresses under which clinics reach the gateway (its certificate's SAN, with the hub's own name).
    days : float (default: 360)
        How long the gateway's certificate is valid.
    """

    def __init__(self, folder: Path, hostnames: list[str], days: float = GATEWAY_DAYS) -> None:
        self.folder, self._days, self._lock = folder, days, threading.RLock()
        self._names = list(dict.fromkeys([HUB_NAME, *hostnames, "gateway", *INTERNAL]))
        self.superlink, self.gateway, self.console = folder / "superlink", folder / "gateway", folder / "console"
        for sub in (folder, self.superlink, self.gateway, self.console):
            sub.mkdir(parents=True, exist_ok=True)
        self._ensure_authority("ca")
        self._ensure_authority("internal")
        self._complete_rotation()
        self._ensure_certificate(folder, "server", ["server", *INTERNAL], "internal", PARTS_DAYS)
        self._ensure_certificate(self.superlink, "superlink", ["superlink", *INTERNAL], "internal", PARTS_DAYS)
        self.refresh()
        for copy in (self.superlink / "ca.crt", self.gateway / "ca.crt", self.console / "internal.crt"):
            _copy_to(copy, self.internal)
        self.superexec_secret = self._secret(self.superlink / "superexec.secret", 32)
        self.url_key = self._secret(folder / "url.key", 32)
        self.audit_key = self._secret(folder / "audit.key", 32)
        _copy_to(
            folder / "audit.pub", Ed25519PrivateKey.from_private_bytes(self.audit_key).public_key().public_bytes_raw()
        )
        self.control_token = self._secret(folder / "control.token", 32).hex()
        self.console_token = self._secret(self.console / "control.token", 32).hex()

    def refresh(self) -> bool:
        """Renew the gateway's certificate if it is due; whether it was. The gateway loads it automatically."""
        with self._lock:
            return self._ensure_certificate(self.gateway, "gateway", self._names, "ca", self._days)

    @property
    def gateway_names(self) -> list[str]:
        """Names and addresses in the gateway's certificate."""
        return [str(_general(name).value) for name in self._names]

    # -- a new CA for the clinics -----------------------------------------------------------------------------------
    @property
    def rotating(self) -> bool:
        """Whether the clinics' CA is being replaced: two are trusted, the old one and the new one."""
        return (self.folder / "ca-next.crt").exists()

    def begin_rotation(self) -> None:
        """Make the new CA. The gateway's certificate is still signed by the old one."""
        with self._lock:
            if not self.rotating:
                self._ensure_authority("ca-next")

    def finish_rotation(self) -> None:
        """Replace the old CA, whose key is deleted; the new one signs the gateway's certificate."""
        with self._lock:
            if self.rotating:
                (self.folder / "ca-next.key").replace(self.folder / "ca.key")
                self._complete_rotation()
                self.refresh()

    def _complete_rotation(self) -> None:
        if self.rotating and not (self.folder / "ca-next.key").exists():  # in the middle of `finish_rotation`
            (self.folder / "ca-next.crt").replace(self.folder / "ca.crt")
            sync_folder(self.folder)

    @property
    def ca(self) -> bytes:
        """The CAs that clinics are to trust, PEM: one, or two during a replacement."""
        with self._lock:
            names = ["ca", "ca-next"] if self.rotating else ["ca"]
            return b"".join((self.folder / f"{name}.crt").read_bytes() for name in names)

    def state_contact(self, hubs: list[str]) -> SignedContact:
        """The hub's addresses and CAs, signed by the CA that all clinics trust (during a replacement, the old one). It has
        a higher number than all before it, so that no clinic goes back to an earlier one."""
        path = self.folder / "contact.issued"
        with self._lock:
            last = int(path.read_text()) if path.exists() else 0
            issued = max(last + 1, int(time.time() * 1000))
            write_atomic(path, str(issued).encode())
            contact = HubContact(hubs=hubs, ca=self.ca.decode(), server_name=HUB_NAME, issued=issued)
            return SignedContact(contact=contact, signature=sign(self._authority_key("ca"), contact_text(contact)))

    @property
    def internal(self) -> bytes:
        """The CA of the hub's parts, PEM."""
        return (self.folder / "internal.crt").read_bytes()

    @property
    def certificate(self) -> tuple[Path, Path]:
        """Certificate and key file of the server's own API."""
        return self.folder / "server.crt", self.folder / "server.key"

    def expires(self, file: str) -> float:
        """When a certificate expires, Unix time in seconds."""
        return x509.load_pem_x509_certificate((self.folder / file).read_bytes()).not_valid_after_utc.timestamp()

    def fingerprint(self, file: str) -> str:
        """SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` and browsers show it."""
        digest = x509.load_pem_x509_certificate((self.folder / file).read_bytes()).fingerprint(hashes.SHA256())
        return digest.hex(":").upper()

    @staticmethod
    def _secret(path: Path, size: int) -> bytes:
        if not path.exists():
            write_atomic(path, secrets.token_bytes(size), mode=0o600)
        return path.read_bytes()

    def _ensure_authority(self, stem: str) -> None:
        key_path, crt_path = self.folder / f"{stem}.key", self.folder / f"{stem}.crt"
        if key_path.exists() and crt_path.exists():
            return
        key = ec.generate_private_key(ec.SECP256R1())
        whose = "parts of hub" if stem == "internal" else "hub"
        name = _common_name(f"EmbryoFL {whose} {secrets.token_hex(4)}")
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = _builder(key, name, name, 365 * CA_YEARS, ca=True).add_extension(identifier, critical=False)
        _write_pair(key_path, key, crt_path, builder.sign(key, hashes.SHA256()))

    def _authority_key(self, stem: str) -> ec.EllipticCurvePrivateKey:
        key = load_pem_private_key((self.folder / f"{stem}.key").read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"identity/{stem}.key is not an EC key")
        return key

    def _ensure_certificate(self, folder: Path, stem: str, names: list[str], authority: str, days: float) -> bool:
        path = folder / f"{stem}.crt"
        ca = x509.load_pem_x509_certificate((self.folder / f"{authority}.crt").read_bytes())
        if path.exists() and _still_good(path.read_bytes(), names, ca):
            return False
        ca_key = self._authority_key(authority)
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
        builder = (
            _builder(key, _common_name(stem), ca.subject, days, ca=False)
            .add_extension(x509.SubjectAlternativeName([_general(n) for n in names]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(issuer, critical=False)
        )
        _write_pair(folder / f"{stem}.key", key, path, builder.sign(ca_key, hashes.SHA256()))
        return True


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    key: ec.EllipticCurvePrivateKey, subject: x509.Name, issuer: x509.Name, days: float, *, ca: bool
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
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .add_extension(usage, critical=True)
    )


def _write_pair(key_path: Path, key: ec.EllipticCurvePrivateKey, path: Path, certificate: x509.Certificate) -> None:
    write_atomic(key_path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
    write_atomic(path, certificate.public_bytes(Encoding.PEM))


def _copy_to(copy: Path, data: bytes, mode: int = 0o644) -> None:
    if not copy.exists() or copy.read_bytes() != data:
        write_atomic(copy, data, mode=mode)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _still_good(pem: bytes, names: list[str], ca: x509.Certificate) -> bool:
    certificate = x509.load_pem_x509_certificate(pem)
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    end = certificate.not_valid_after_utc
    life = end - certificate.not_valid_before_utc - BACKDATED
    least = min(life / 3, datetime.timedelta(days=RENEW_DAYS))
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return end - datetime.datetime.now(datetime.UTC) >= least and set(san) == {_general(n) for n in names}
