"""Encrypt a backup with age (https://age-encryption.org), and decrypt it.

An encrypted file is two age files, one after the other. The first, in ASCII, holds a private key that was made for this
file alone, encrypted to a passphrase or to a public key. The second holds the content, encrypted to that private key: with
a passphrase pyrage encrypts only what fits in memory. So age alone opens it, too:

    sed '/^-----END/q' hub.age | age -d >key          (or: age -d -i IDENTITY)
    sed '1,/^-----END/d' hub.age | age -d -i key | tar x

age authenticates both (ChaCha20-Poly1305), and where the second ends. Nobody without the passphrase can make such a file;
a public key tells nothing about who did.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyrage

from embryofl.errors import UserError

SHORTEST = 12
"""Characters of a passphrase. age makes each guess take about a second."""
_BEGIN, _END = b"-----BEGIN AGE ENCRYPTED FILE-----\n", b"-----END AGE ENCRYPTED FILE-----\n"
_HEAD_LINES = 20
_PRIVATE = "AGE-SECRET-KEY-1"


@contextlib.contextmanager
def encrypted(out: BinaryIO, folder: Path, passphrase: str, public_key: str = "") -> Iterator[BinaryIO]:
    """A file to write to. On leaving the block without an error, its content is written to `out`, encrypted.

    Parameters
    ----------
    out : BinaryIO
    folder : Path
        Where a temporary file without a name is made. (pyrage pulls from a file in small pieces, which from a pipe and
        another thread takes a hundred times as long.)
    passphrase : str
        Not used if there is a public key.
    public_key : str (default: "")
        An age recipient, "age1...".

    Raises
    ------
    UserError
        If the passphrase is too short, or the public key is not one.
    """
    key = pyrage.x25519.Identity.generate()
    head = sealed(str(key).encode(), passphrase, public_key)
    with tempfile.TemporaryFile(dir=folder) as content:
        yield content
        content.seek(0)
        out.write(head)
        pyrage.encrypt_io(content, out, [key.to_public()])
    out.flush()  # raises what pyrage does not report of the last bytes, such as a full disk


def sealed(data: bytes, passphrase: str, public_key: str = "") -> bytes:
    """A few bytes, encrypted to the public key if there is one, otherwise to the passphrase; in ASCII. Raises as
    `encrypted`."""
    if public_key:
        try:
            recipient = pyrage.x25519.Recipient.from_str(public_key)
        except pyrage.RecipientError as exc:
            raise UserError("H4", f"{public_key!r} is not a public key of age ({exc}). Expected age1...") from exc
        return bytes(pyrage.encrypt(data, [recipient], armored=True))
    if len(passphrase) < SHORTEST or passphrase.startswith(_PRIVATE):
        raise UserError(
            "H4",
            f"The backup needs a passphrase of at least {SHORTEST} characters. Type one, give it as the first line of "
            "standard input, or name a public key with --to (make backup: TO=age1...).",
        )
    return bytes(pyrage.passphrase.encrypt(data, passphrase, armored=True))


def is_sealed(data: bytes) -> bool:
    """Whether this looks like something that `sealed` returned."""
    return data.startswith(_BEGIN) and data.endswith(_END)


def unsealed(data: bytes, secret: str) -> bytes:
    """The bytes that were given to `sealed`; `UserError` if it was changed, or the secret is another."""
    with _failures():
        return _decrypt(data, secret)


def _decrypt(data: bytes, secret: str) -> bytes:
    if secret.startswith(_PRIVATE):
        return bytes(pyrage.decrypt(data, [pyrage.x25519.Identity.from_str(secret)]))
    return bytes(pyrage.passphrase.decrypt(data, secret))


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except (pyrage.DecryptError, pyrage.IdentityError, ValueError, OSError) as exc:
        raise UserError(
            "H4", f"The archive was changed, is incomplete, or has another passphrase or key ({exc}). {EXPECTED}"
        ) from exc


def decrypted(source: BinaryIO, secret: str, folder: Path) -> BinaryIO:
    """The complete content of an encrypted file, once all of it is authenticated.

    Parameters
    ----------
    source : BinaryIO
    secret : str
        The passphrase, or the private key ("AGE-SECRET-KEY-1...") of the public key that it was encrypted to.
    folder : Path
        Where a temporary file without a name is made.

    Raises
    ------
    UserError
        If the file is not one of `encrypted`, is incomplete or changed, or the secret is another.
    """
    head = [source.readline(len(_BEGIN))]
    if head[0] != _BEGIN:
        raise UserError("H4", f"The archive is not an encrypted backup. {EXPECTED}")
    while head[-1] != _END and len(head) < _HEAD_LINES:
        head.append(source.readline(len(_BEGIN) * 2))
    content: BinaryIO = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
    try:
        with _failures():
            key = _decrypt(b"".join(head), secret)
            pyrage.decrypt_io(source, content, [pyrage.x25519.Identity.from_str(key.decode())])
    except UserError:
        content.close()
        raise
    content.seek(0)
    return content


EXPECTED = "Expected a complete file written by `make backup`, and its passphrase or private key. Use another backup."
