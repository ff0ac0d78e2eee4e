"""The clinic's identity: a private key that is made here and never leaves, and what the clinic knows of its hub."""

import contextlib
import functools
import hashlib
import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from embryofl.clinic_keys import authorities, certificate, fingerprint, openssh, sign
from embryofl.errors import UserError
from embryofl.files import sync_folder, write_atomic
from embryofl.membership import HubContact
from embryofl.schema import Sha256

KEY, NEXT, HUB = "clinic.key", "clinic.key.next", "hub.json"
_AGAIN = (
    "Restore it. Or ask the coordinator to revoke and invite this clinic again, and start with an empty state folder."
)
USED = "invites.used"  # SHA-256 of the secrets of the invites used here


class JoinedHub(HubContact):
    """What the clinic knows of its hub once it has joined. `former`: the authorities that it trusted before."""

    name: str
    former: list[Sha256] = []

    def with_contact(self, contact: HubContact, address: str) -> "JoinedHub":
        """With a new contact. `address`, the one in use, stays: the hub need not know it (a forwarded port, a proxy of
        the clinic's)."""
        hubs = list(dict.fromkeys([address, *contact.hubs]))
        new = {"hubs": hubs, "ca": contact.ca, "server_name": contact.server_name, "issued": contact.issued}
        former = [one for one in self.authorities if one not in authorities(contact.ca)]
        return self.model_copy(update=new | {"former": former})

    @property
    def authorities(self) -> list[str]:
        """The certificate authorities by which this clinic knows its hub, newest last: those before, and those of now."""
        return [*self.former, *authorities(self.ca)]


def joined_hub(folder: Path) -> JoinedHub | None:
    """The hub that the clinic with this identity folder has joined, if it has; no key is read.

    Raises
    ------
    UserError
        When the record of it is damaged.
    """
    path = folder / HUB
    try:
        return JoinedHub.model_validate_json(path.read_text()) if path.exists() else None
    except ValueError as exc:  # not text, or of another form
        raise UserError("J8", f"{path} is damaged. {_AGAIN}") from exc


class ClinicIdentity:
    """`identity/` in the clinic's state folder.

    Parameters
    ----------
    folder : Path
        Made when missing, readable by its owner only.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.key = self._load_or_make_key(folder / KEY)
        except OSError as exc:
            raise UserError(
                "J8",
                f"The clinic's state folder {folder.parent} cannot be written ({exc.strerror}). Expected a folder that "
                "survives restarts: mount a volume at /state, or set EMBRYOFL_STATE_DIR.",
            ) from exc

    @staticmethod
    def _load_or_make_key(path: Path) -> ec.EllipticCurvePrivateKey:
        if not path.exists():
            key = ec.generate_private_key(ec.SECP384R1())
            made = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
            write_atomic(made, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
            try:
                os.link(made, path)
            except FileExistsError:
                pass  # two processes at once: both use the key that was first
            except OSError:  # a file system without hard links
                made.rename(path)
            made.unlink(missing_ok=True)
            sync_folder(path.parent)
        return _read_key(path)

    def reload(self) -> bool:
        """Read the key again; whether it has changed."""
        before = self.public_key
        self.key = self._load_or_make_key(self._folder / KEY)
        return self.public_key != before

    def next_key(self) -> ec.EllipticCurvePrivateKey:
        """The key that will replace this one; made at the first call, kept until `adopt_next`."""
        return self._load_or_make_key(self._folder / NEXT)

    def adopt_next(self) -> None:
        """Replace the key by the next one. If another process has already done so, use its key."""
        with contextlib.suppress(FileNotFoundError):
            (self._folder / NEXT).replace(self._folder / KEY)
        sync_folder(self._folder)
        self.reload()

    def certificate(self) -> str:
        """Certificate and key for TLS, PEM, of the key that is in the folder now: a command may have changed it."""
        path = self._folder / KEY
        return _certificate_of(path, path.read_bytes())

    @property
    def public_key(self) -> str:
        """The public key as one OpenSSH line."""
        return openssh(self.key)

    @property
    def fingerprint(self) -> str:
        """Of the public key, as in the coordinator's list and in `ssh-keygen -l`."""
        return fingerprint(self.public_key)

    def sign(self, text: bytes) -> str:
        """ECDSA signature with SHA-256, hexadecimal."""
        return sign(self.key, text)

    @property
    def membership(self) -> JoinedHub | None:
        """The hub this clinic has joined, if it has."""
        return joined_hub(self._folder)

    @property
    def authorities(self) -> list[str]:
        """See `JoinedHub`; empty before the clinic has joined."""
        hub = self.membership
        return hub.authorities if hub else []

    def note_used(self, secret: str) -> None:
        """Record that an invite was used here. It is not used again: its authority may no longer be trusted."""
        path = self._folder / USED
        before = path.read_text() if path.exists() else ""
        write_atomic(path, f"{before}{hashlib.sha256(secret.encode()).hexdigest()}\n".encode(), mode=0o600)

    def has_used(self, secret: str) -> bool:
        """Whether an invite was used here."""
        path = self._folder / USED
        return path.exists() and hashlib.sha256(secret.encode()).hexdigest() in path.read_text().split()

    def remember(self, membership: JoinedHub) -> None:
        """Save what is known of the hub."""
        write_atomic(self._folder / HUB, membership.model_dump_json().encode(), mode=0o600)


def _read_key(path: Path, pem: bytes | None = None) -> ec.EllipticCurvePrivateKey:
    try:
        loaded = load_pem_private_key(path.read_bytes() if pem is None else pem, None)
    except ValueError as exc:
        raise UserError("J8", f"{path} is damaged. {_AGAIN}") from exc
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise UserError("J8", f"{path} holds a key of another kind. Expected an EC key. {_AGAIN}")
    return loaded


@functools.lru_cache(maxsize=2)
def _certificate_of(path: Path, pem: bytes) -> str:
    return certificate(_read_key(path, pem))
