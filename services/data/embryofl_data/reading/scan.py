"""Read, hash and decode the files of a folder, in order, on a few threads, except what was read before."""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embryofl.data_statistics import Optics
from embryofl.schema import Strict
from embryofl_data.reading.contract import Problem
from embryofl_data.reading.decode import MAX_FILE_BYTES, Opened, open_image, to_square
from embryofl_data.reading.optics import optics_of
from embryofl_data.reading.sandbox import DecodeError
from embryofl_data.reading.threads import in_threads


class FileInfo(Strict):
    """Information about one image file.

    Attributes
    ----------
    size_bytes, mtime_ns : int
        Size and modification time when it was read; -1 where it could not be opened.
    sha256 : str
        Of the content, hex; "" where it was not read.
    width, height : int
        Pixels, 0 where it was not decoded.
    mode : str
        Stored pixel format, "" where it was not decoded.
    kind, detail : str
        Why it cannot be used, as in `contract.Problem`; "" where it can.
    note : str
        What was ignored, usually "".
    optics : Optics
        Light, colour and size; empty where it was not decoded.
    """

    file: str
    size_bytes: int = -1
    mtime_ns: int = -1
    sha256: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    kind: str = ""
    detail: str = ""
    note: str = ""
    optics: Optics = ()

    @classmethod
    def not_opened(cls, file: str, error: OSError) -> "FileInfo":
        """Of a file that cannot be opened."""
        kind = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        return cls(file=file, kind=kind, detail=f"cannot be opened: {error.strerror}")

    def with_image(self, opened: Opened) -> "FileInfo":
        """The same after decoding."""
        return self.model_copy(update={**opened.facts, "optics": optics_of(opened.image)})

    @property
    def usable(self) -> bool:
        """Whether the file was decoded."""
        return not self.kind

    @property
    def problem(self) -> Problem | None:
        """The problem or note, None where all is well."""
        if self.kind:
            return Problem(self.file, self.kind, self.detail)
        return Problem(self.file, "animated", self.note) if self.note else None


def stamp_of(path: Path) -> tuple[int, int] | None:
    """Size in bytes and modification time in ns, by which a changed file is recognised; None without a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


class EarlierFiles:
    """Files seen before, by the same decode version and size; `contents`: SHA-256 of those whose pixels are at hand."""

    def __init__(self, files: Mapping[str, FileInfo], contents: Set[str]) -> None:
        self.files = files
        self._by_content = {
            info.sha256: info for info in self.files.values() if info.sha256 and (info.kind or info.sha256 in contents)
        }

    def is_fresh(self, root: Path, file: str) -> bool:
        """Whether the file has the size and modification time at which it was read."""
        info = self.files.get(file)
        return info is not None and info.mtime_ns >= 0 and (info.size_bytes, info.mtime_ns) == stamp_of(root / file)

    def content(self, sha256: str) -> FileInfo | None:
        """Information about a content, None when its pixels would have to be decoded."""
        return self._by_content.get(sha256)


@dataclass(frozen=True)
class Scanned:
    """One file's information, and its pixels, uint8 (size, size, 3), where they were decoded just now."""

    info: FileInfo
    pixels: npt.NDArray[np.uint8] | None


def scan_files(root: Path, files: Sequence[str], size: int, earlier: EarlierFiles) -> Iterator[Scanned]:
    """Scan files in the given order.

    Unchanged files are not opened, and contents seen before are not decoded to a square of `size` pixels.
    """
    return in_threads(partial(_scan, root, file, size, earlier) for file in files)


def _scan(root: Path, file: str, size: int, earlier: EarlierFiles) -> Scanned:
    if earlier.is_fresh(root, file):
        return Scanned(earlier.files[file], None)
    try:
        data, base = read_file(root, file)
    except DecodeError as error:
        return Scanned(FileInfo(file=file, kind=error.kind, detail=error.detail), None)
    except OSError as error:
        return Scanned(FileInfo.not_opened(file, error), None)
    twin = earlier.content(base.sha256)
    if twin:
        update = {"file": file, "size_bytes": base.size_bytes, "mtime_ns": base.mtime_ns}
        return Scanned(twin.model_copy(update=update), None)
    try:
        opened = open_image(data)
    except DecodeError as error:
        return Scanned(base.model_copy(update={"kind": error.kind, "detail": error.detail}), None)
    return Scanned(base.with_image(opened), to_square(opened.image, size))


def read_file(root: Path, file: str) -> tuple[bytes, FileInfo]:
    """Read a whole file; its size and time are those of the moment it was opened.

    Raises
    ------
    DecodeError
        When it is not a regular file, or too large.
    OSError
        When it cannot be opened.
    """
    # NOFOLLOW: the listing resolved links, so a link here was put there since.
    descriptor = os.open(root / file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as handle:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise DecodeError("unreadable", "not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise DecodeError("too_large", f"{status.st_size >> 20} MiB; at most {MAX_FILE_BYTES >> 20} are read")
        data = handle.read()
    sha256 = hashlib.sha256(data).hexdigest()
    return data, FileInfo(file=file, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns, sha256=sha256)
