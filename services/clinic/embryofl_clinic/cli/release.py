"""`embryofl-clinic verify`: is this file part of a release that the holder of a known key has signed?

A release has `SHA256SUMS` and `SHA256SUMS.sig`, a signature as `ssh-keygen -Y sign` makes it (OpenSSH's PROTOCOL.sshsig).
Both lie next to the file.
"""

import base64
import hashlib
import re
from pathlib import Path
from typing import Annotated

import typer
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from embryofl.errors import UserError

SIGNED_AS = b"embryofl-release"
_ARMOUR = re.compile(r"-----BEGIN SSH SIGNATURE-----\s(.+)-----END SSH SIGNATURE-----\s*", re.S)


def verify(
    file: Annotated[Path, typer.Argument(help="A file of a release, next to its SHA256SUMS and SHA256SUMS.sig.")],
    fingerprint: Annotated[
        str, typer.Argument(help="SHA256:... of the release key, got by another way than the file.")
    ],
) -> None:
    """Check a file of a release, such as the next image, before it is loaded: signature, key and checksum."""
    check_release(file, fingerprint)
    typer.echo(f"{file.name} is part of a release signed with {fingerprint}, and it is unchanged.")


def check_release(file: Path, fingerprint: str) -> None:
    """Check that the holder of the key has signed the checksums next to the file, and that the file has its checksum.

    Raises
    ------
    UserError
        When it is not so, or one of the three files cannot be read.
    """
    try:
        sums, signature = ((file.parent / name).read_bytes() for name in ("SHA256SUMS", "SHA256SUMS.sig"))
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as exc:
        raise UserError(
            "S13",
            f"{exc.filename} cannot be read ({exc.strerror}). Expected the file of a release next to its SHA256SUMS and "
            "SHA256SUMS.sig. Download all three.",
        ) from None
    signer = signer_of(sums, signature)
    if signer != fingerprint.strip().rstrip("="):
        raise UserError(
            "S13",
            f"{file.name} belongs to a release that {signer} has signed, expected {fingerprint}. Do not load it. Compare "
            "the fingerprint with the one that you got by another way than the file.",
        )
    if f"{digest}  {file.name}" not in sums.decode(errors="replace").splitlines():
        raise UserError(
            "S13",
            f"{file.name} is not as it was signed: its SHA-256 is {digest}, which SHA256SUMS does not have for it. Do not "
            "load it. Download it again.",
        )


def signer_of(message: bytes, armoured: bytes) -> str:
    """Fingerprint (SHA256:...) of the Ed25519 key that has signed the message as a release.

    Raises
    ------
    UserError
        When this is no such signature of the message.
    """
    try:
        found = _ARMOUR.fullmatch(armoured.decode())
        magic, version, *parts = _parts(base64.b64decode(found[1])) if found else [b"", b""]
        if (magic, version, len(parts)) != (b"SSHSIG", b"\0\0\0\1", 5):
            raise ValueError("not a signature of ssh-keygen")
        public, namespace, reserved, hash_name, signed = parts
        if namespace != SIGNED_AS:
            raise ValueError("a signature of something else than a release")
        (kind, *key), (_, *signature) = _strings(public), _strings(signed)
        if kind != b"ssh-ed25519" or hash_name not in (b"sha256", b"sha512"):
            raise ValueError("made with a key that is not Ed25519")
        digest = hashlib.new(hash_name.decode(), message).digest()
        text = magic + b"".join(len(p).to_bytes(4, "big") + p for p in (namespace, reserved, hash_name, digest))
        Ed25519PublicKey.from_public_bytes(key[0]).verify(signature[0], text)
    except (ValueError, IndexError, InvalidSignature) as exc:  # also what base64 and UTF-8 report
        why = f"it is {exc}" if type(exc) is ValueError else "it is damaged, or of another file"
        raise UserError(
            "S13",
            f"SHA256SUMS.sig does not sign SHA256SUMS: {why}. Do not load the file. Download all of the release again.",
        ) from None
    return "SHA256:" + base64.b64encode(hashlib.sha256(public).digest()).decode().rstrip("=")


def _parts(data: bytes) -> list[bytes]:
    """Magic, version, and the strings after them."""
    return [data[:6], data[6:10], *_strings(data[10:])]


def _strings(data: bytes) -> list[bytes]:
    """Strings, each after its length as four bytes; a last one that is cut off makes the signature invalid."""
    found = []
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        found.append(data[4:end])
        data = data[end:]
    return found
