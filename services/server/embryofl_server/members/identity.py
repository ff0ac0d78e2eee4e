"""The hub's identity: TLS certificates, secrets, and whom clinics trust. Made at the first start and kept.

There are two certificate authorities (CAs): clinics trust that of the signer, whose key is not here; the parts of the hub
trust each other by `internal`. The clinics' can be replaced while everything runs: they trust `ca` and, during a
replacement, `ca-next` too. The gateway's certificate carries the hub's own name (`HUB_NAME`), which clinics check whatever
address they dial. Layout below the state folder:

    identity/ca.crt, ca-next.crt         copies of the signer's: the CA that every clinic trusts, and the one that is
                                         about to replace it, during a replacement
    identity/internal.key, internal.crt  the CA of the hub's parts
    identity/server.crt, server.key      the server's own API (hub network)
    identity/url.key, control.token  signs weight URLs; opens the control API
    identity/audit.key, audit.pub    signs the lines of the audit log
    identity/superlink/              what the SuperLink may read: its certificate and the SuperExec secret
    identity/gateway/                what the gateway may read: its certificate, and whom it lets through (`GatewayKeys`)
    identity/console/                what the console may read: a copy of internal.crt, a token of its own, who is logged in
    identity/notifier/               what the notifier may read: a copy of internal.crt, a token for what people are told
"""

import secrets
import threading
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from embryofl.clinic_keys import authorities
from embryofl.errors import UserError
from embryofl.files import write_atomic
from embryofl_server.state.certificates import (
    INTERNAL,
    common_name,
    ensure_authority,
    general_name,
    issue,
    new_key,
    still_good,
    write_pair,
)
from embryofl_server.state.signer.authority import Signer, Trust

PARTS_DAYS = 3650


class HubIdentity:
    """Paths and secrets of one hub; missing pieces are made when it is opened.

    Parameters
    ----------
    folder : Path
        `identity/` below the hub's state folder.
    signer : Signer
        Has the key of the authority that clinics trust.

    Raises
    ------
    UserError
        If the signer does not answer, or has another authority than this hub's clinics trust.
    """

    def __init__(self, folder: Path, signer: Signer) -> None:
        self.folder, self.signer, self._lock = folder, signer, threading.RLock()
        self.superlink, self.gateway, self.console = folder / "superlink", folder / "gateway", folder / "console"
        notifier = folder / "notifier"
        for sub in (folder, self.superlink, self.gateway, self.console, notifier):
            sub.mkdir(parents=True, exist_ok=True)
        self.refresh()
        ensure_authority(folder, "internal", "parts of hub")
        self._ensure_part(folder, "server")
        self._ensure_part(self.superlink, "superlink")
        for copy in (
            self.superlink / "ca.crt",
            self.gateway / "ca.crt",
            self.console / "internal.crt",
            notifier / "internal.crt",
        ):
            _copy_to(copy, self.internal)
        self.superexec_secret = self._secret(self.superlink / "superexec.secret", 32)
        self.url_key = self._secret(folder / "url.key", 32)
        self.audit_key = self._secret(folder / "audit.key", 32)
        _copy_to(
            folder / "audit.pub", Ed25519PrivateKey.from_private_bytes(self.audit_key).public_key().public_bytes_raw()
        )
        self.control_token = self._secret(folder / "control.token", 32).hex()
        self.console_token = self._secret(self.console / "control.token", 32).hex()
        self.notices_token = self._secret(notifier / "notices.token", 32).hex()

    def refresh(self) -> bool:
        """Renew the gateway's certificate if it is due; whether it was. The gateway loads it automatically. `UserError` as
        at the start."""
        with self._lock:
            trust = self._take(self.signer.trust())
            path, ca = self.gateway / "gateway.crt", x509.load_pem_x509_certificate(trust.ca.encode())
            if path.exists() and still_good(path.read_bytes(), trust.names, ca):
                return False
            key = new_key()
            made = self.signer.certificate(_request(key))
            write_pair(self.gateway / "gateway.key", key, path, made.encode())
            return True

    @property
    def gateway_names(self) -> list[str]:
        """Names and addresses in the gateway's certificate."""
        return [str(general_name(name).value) for name in self._names]

    # -- a new CA for the clinics -----------------------------------------------------------------------------------
    @property
    def rotating(self) -> bool:
        """Whether the clinics' CA is being replaced: two are trusted, the old one and the new one."""
        return (self.folder / "ca-next.crt").exists()

    def begin_rotation(self) -> None:
        """Have the signer make the new CA. The gateway's certificate is still signed by the old one."""
        with self._lock:
            self._take(self.signer.begin_rotation())

    def finish_rotation(self) -> None:
        """Have the signer replace the old CA, whose key it deletes; the new one signs the gateway's certificate."""
        with self._lock:
            self._take(self.signer.finish_rotation())
            self.refresh()

    def _take(self, trust: Trust) -> Trust:
        """Keep copies of the CAs that clinics are to trust from now on."""
        known, ours = self.ca.decode(), x509.load_pem_x509_certificates(trust.ca.encode())
        if known and not set(authorities(known)) & set(authorities(trust.ca)):
            raise UserError(
                "H13",
                "The signer has another authority than this hub's clinics trust: its folder is new, or another hub's. "
                "Expected the one that this hub was started with. Bring it back, or restore a backup: make restore.",
            )
        self._names = trust.names
        pem = [certificate.public_bytes(Encoding.PEM) for certificate in ours]
        _copy_to(self.folder / "ca.crt", pem[0])
        if len(pem) > 1:
            _copy_to(self.folder / "ca-next.crt", pem[1])
        else:
            (self.folder / "ca-next.crt").unlink(missing_ok=True)
        return trust

    @property
    def ca(self) -> bytes:
        """The CAs that clinics are to trust, PEM: one, or two during a replacement; none before the first start."""
        with self._lock:
            paths = [self.folder / f"{name}.crt" for name in ("ca", "ca-next")]
            return b"".join(path.read_bytes() for path in paths if path.exists())

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

    def _ensure_part(self, folder: Path, stem: str) -> None:
        """The certificate of one of the hub's parts."""
        path, names = folder / f"{stem}.crt", [stem, *INTERNAL]
        if not path.exists() or not still_good(path.read_bytes(), names, x509.load_pem_x509_certificate(self.internal)):
            key = new_key()
            made = issue(self.folder, "internal", key.public_key(), stem, names, PARTS_DAYS)
            write_pair(folder / f"{stem}.key", key, path, made.public_bytes(Encoding.PEM))


def _request(key: ec.EllipticCurvePrivateKey) -> str:
    """A request for a certificate, PEM. It names nothing: the signer knows what the certificate is for."""
    made = x509.CertificateSigningRequestBuilder().subject_name(common_name("gateway")).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM).decode()


def _copy_to(copy: Path, data: bytes, mode: int = 0o644) -> None:
    if not copy.exists() or copy.read_bytes() != data:
        write_atomic(copy, data, mode=mode)
