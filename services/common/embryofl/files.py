"""Durable writes: a file is either the old one or the whole new one, also after a power cut."""

import contextlib
import errno
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from embryofl.errors import UserError


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def atomic(path: Path, mode: int = 0o644, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file next to `path`; on leaving the block it is synced and takes the name `path`.

    Parameters
    ----------
    path : Path
    mode : int (default: 0o644)
    durable : bool (default: True)
        False: it is not synced. The file survives this process, and may not survive a power cut.

    Raises
    ------
    UserError
        When the disk is full; no partial file stays behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    with _full_disk_explained(path):
        try:
            with os.fdopen(fd, "wb") as file:
                yield file
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            temporary.chmod(mode)
            temporary.replace(path)
            if durable:
                sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _full_disk_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno != errno.ENOSPC:
            raise
        raise UserError(
            "S4",
            f"No space left on the disk that holds {path.parent}. Free some space there and start again; "
            "nothing that was already saved is lost.",
        ) from exc


def append(path: Path, text: str) -> None:
    """Append lines to a file. After a power cut the last line may be incomplete; readers skip it.

    Raises
    ------
    UserError
        When the disk is full.
    """
    with _full_disk_explained(path), path.open("a") as file:
        file.write(text)


def write_atomic(path: Path, data: bytes | memoryview, mode: int = 0o644) -> None:
    """Write `data` to `path` durably (temporary file, fsync, rename)."""
    with atomic(path, mode) as file:
        file.write(data)


@contextlib.contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Hold the lock beside a file, which the processes of one clinic use in turn."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
