"""The authority that clinics trust: its key, and what it signs.

It signs certificates for the gateway and statements about how clinics reach and trust the hub. Names, addresses and
authorities in these come from its own settings, the tunnel's file and its own folder. Whoever asks chooses nothing but
the key of a certificate, and when to ask.

    ca.key, ca.crt              the authority that every clinic trusts
    ca-next.key, ca-next.crt    the one that is about to replace it, during a replacement
    contact.json                the newest statement; none ever has a lower number
    signed.jsonl                what was signed, and when
"""

import json
import threading
import time
from pathlib import Path
from typing import NamedTuple, Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from embryofl.clinic_keys import authorities, sign
from embryofl.errors import UserError
from embryofl.files import append, sync_folder, write_atomic
from embryofl.invite import HUB_NAME
from embryofl.membership import HubContact, SignedContact, contact_text
from embryofl.tunnel import read_tunnel_state
from embryofl_server.settings import HubSettings
from embryofl_server.state.certificates import INTERNAL, ensure_authority, issue, read_key

BACKED_UP = ("ca.key", "ca.crt", "ca-next.key", "ca-next.crt", "contact.json")


class Trust(NamedTuple):
    """What clinics are to trust: certificates of the authorities, PEM (two during a replacement), and the names and
    addresses in the gateway's certificate."""

    ca: str
    names: list[str]


class Signer(Protocol):
    """What the server asks of it. Each raises `UserError` when it is refused, or nobody answers."""

    def trust(self) -> Trust:
        """What clinics are to trust now."""

    def certificate(self, request: str) -> str:
        """The gateway's certificate, PEM, for the key of a request (PEM), of which nothing else counts."""

    def contact(self) -> SignedContact:
        """The hub's addresses and authorities, signed by the authority that all clinics trust."""

    def begin_rotation(self) -> Trust:
        """Make a new authority; the old one still signs."""

    def finish_rotation(self) -> Trust:
        """Let the new authority sign; the old one's key is deleted."""

    def trouble(self) -> str:
        """Why it does not answer, "" if it does."""


def hub_addresses(addresses: list[str], tunnel_file: Path | None) -> list[str]:
    """Addresses by which clinics reach the hub: those of the settings, and the tunnel's, also while the tunnel is down."""
    tunnel = read_tunnel_state(tunnel_file) if tunnel_file else None
    return list(dict.fromkeys([*addresses, *([tunnel.address] if tunnel and tunnel.address else [])]))


class Authority:
    """A `Signer` in this process; its key is made when there is none.

    Parameters
    ----------
    settings : HubSettings
        Of these: the signer's folder, names and addresses, the tunnel's file, how long a certificate is valid.
    """

    def __init__(self, settings: HubSettings) -> None:
        self._settings, self._folder, self._lock = settings, settings.signer, threading.RLock()
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._half_replaced() and ensure_authority(self._folder, "ca", "hub"):
            self._record("authority made")
        self._complete_rotation()

    def trust(self) -> Trust:
        """See `Signer`."""
        with self._lock:
            stems = ["ca", "ca-next"] if self._rotating else ["ca"]
            ca = "".join((self._folder / f"{stem}.crt").read_text() for stem in stems)
        return Trust(ca, list(dict.fromkeys([HUB_NAME, *self._settings.names, "gateway", *INTERNAL])))

    def certificate(self, request: str) -> str:
        """See `Signer`. The names that are asked for do not count."""
        key = _key_of(request)
        with self._lock:
            names = self.trust().names
            made = issue(self._folder, "ca", key, "gateway", names, self._settings.certificate_days)
            self._record(
                "certificate",
                sha256=made.fingerprint(SHA256()).hex(),
                names=names,
                ends=made.not_valid_after_utc.timestamp(),
            )
        return made.public_bytes(Encoding.PEM).decode()

    def contact(self) -> SignedContact:
        """See `Signer`. A new statement has a higher number than all before it, so that no clinic goes back to an earlier
        one; as long as nothing has changed, it is the same statement."""
        path = self._folder / "contact.json"
        with self._lock:
            known = SignedContact.model_validate_json(path.read_bytes()) if path.exists() else None
            hubs, ca = hub_addresses(self._settings.addresses, self._settings.tunnel_file), self.trust().ca
            if known and (known.contact.hubs, known.contact.ca) == (hubs, ca) and known.signature:
                return known
            issued = max(known.contact.issued + 1 if known else 0, int(time.time() * 1000))
            contact = HubContact(hubs=hubs, ca=ca, server_name=HUB_NAME, issued=issued)
            signed = SignedContact(
                contact=contact, signature=sign(read_key(self._folder / "ca.key"), contact_text(contact))
            )
            self._record("contact", number=issued, hubs=hubs)
            write_atomic(path, signed.model_dump_json().encode(), mode=0o600)
            return signed

    def begin_rotation(self) -> Trust:
        """See `Signer`."""
        with self._lock:
            if not self._rotating:
                ensure_authority(self._folder, "ca-next", "hub")
                self._record("replacement begun")
            return self.trust()

    def finish_rotation(self) -> Trust:
        """See `Signer`."""
        with self._lock:
            if self._rotating:
                (self._folder / "ca-next.key").replace(self._folder / "ca.key")
                self._complete_rotation()
            return self.trust()

    def trouble(self) -> str:
        """See `Signer`."""
        return ""

    @property
    def _rotating(self) -> bool:
        return (self._folder / "ca-next.crt").exists()

    def _half_replaced(self) -> bool:
        """Whether it was stopped in the middle of `finish_rotation`."""
        return self._rotating and not (self._folder / "ca-next.key").exists()

    def _complete_rotation(self) -> None:
        if self._half_replaced():
            (self._folder / "ca-next.crt").replace(self._folder / "ca.crt")
            sync_folder(self._folder)
            self._record("replacement finished")

    def _record(self, what: str, **facts: object) -> None:
        """A line of the log, before what was signed is handed out."""
        line = {"time": time.time(), "what": what, **facts, "authorities": authorities(self.trust().ca)}
        append(self._folder / "signed.jsonl", json.dumps(line) + "\n")


def _key_of(request: str) -> ec.EllipticCurvePublicKey:
    try:
        asked = x509.load_pem_x509_csr(request.encode())
        key, own = asked.public_key(), asked.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise UserError("H13", f"The request for a certificate cannot be read ({exc}). Expected one in PEM.") from exc
    if not own or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UserError("H13", "The request for a certificate is not signed by its own key (expected: EC, P-256).")
    return key


def saved(folder: Path) -> bytes:
    """The authority in a signer's folder, with its keys in the clear: only for the signer's own backup. `UserError` if
    there is none."""
    files = {name: (folder / name).read_text() for name in BACKED_UP if (folder / name).exists()}
    if "ca.key" not in files:
        raise UserError("H4", f"{folder} is not a signer's folder: ca.key is missing. Start the hub before a backup.")
    return json.dumps(files).encode()


def put_back(folder: Path, data: bytes) -> None:
    """Restore what `saved` returned. The next statement is signed anew: clinics may know a later one. A folder that has the
    same authority stays as it is.

    Raises
    ------
    UserError
        If the folder has another authority, or this is not what `saved` returned.
    """
    try:
        files = json.loads(data)
        if "contact.json" in files:
            contact = SignedContact.model_validate_json(files["contact.json"])
            files["contact.json"] = contact.model_copy(update={"signature": ""}).model_dump_json()
        wrong = not set(files) <= set(BACKED_UP) or "ca.key" not in files or not authorities(files["ca.crt"])
    except (ValueError, KeyError, TypeError):
        wrong = True
    if wrong:
        raise UserError("H4", "The archive has no authority's key. Expected one of `make backup`. Use another.")
    if (folder / "ca.key").exists():
        if (folder / "ca.crt").read_text() == files["ca.crt"]:
            return
        raise UserError(
            "H4",
            f"{folder} holds another authority than the archive. Expected the same or none: nothing is overwritten. "
            "Move the old one away first.",
        )
    for name in sorted(files, reverse=True):  # ca.key last
        write_atomic(folder / name, files[name].encode(), mode=0o600)
