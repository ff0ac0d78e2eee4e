"""The files of a source: a folder with the zip archives at its top, or one archive. Nothing is unpacked or followed.

An archive's entries are read in place, so that no name in it can become a path on this machine, and a data set that is
published as archives needs no space for a second copy.
"""

import io
import stat
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from embryofl.errors import UserError
from embryofl_data.reading.decode import MAX_FILE_BYTES
from embryofl_data.reading.listing import Listing, is_ignored, is_image_name, walk
from embryofl_data.reading.sandbox import DecodeError
from embryofl_data.reading.scan import read_file
from embryofl_data.reading.tables import TableRow, parse_table

MOST_FILES = 5_000_000
DIRECTORY_BYTES = 64 * 2**20
"""Of an archive: half a million files with usual names. A name of one letter costs ten times its bytes in memory."""
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Ways of compression that are read: others let the file choose how much memory that takes (LZMA: up to 4 GiB)."""
NO_LINKS = "symbolic link: links are not followed"

Entry = tuple[zipfile.ZipFile, zipfile.ZipInfo] | None
"""Where a file is: in an archive, or (None) in the folder."""


@dataclass(frozen=True)
class SkippedFile:
    """Something in the source that is not imported, the reason (the same words for many files), and the details."""

    source: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Source:
    """What is to be imported.

    Attributes
    ----------
    root : Path
        The folder, or the folder that holds the archive.
    entries : mapping of str to Entry
        POSIX paths of all regular files in their order, without hidden ones and `__MACOSX`.
    skipped : tuple of SkippedFile
        Links, devices, unreadable folders.
    """

    root: Path
    entries: Mapping[str, Entry]
    skipped: tuple[SkippedFile, ...] = ()

    @cached_property
    def images(self) -> tuple[str, ...]:
        """Files named like images."""
        return tuple(file for file in self.entries if is_image_name(file))

    def named(self, name: str) -> str | None:
        """The file of this bare name, whatever its case and folder, the one nearest to the top; None without one."""
        return self._by_name.get(name.lower())

    @cached_property
    def _by_name(self) -> dict[str, str]:
        deepest_first = sorted(self.entries, key=lambda file: (file.count("/"), file), reverse=True)
        return {file.rsplit("/", 1)[-1].lower(): file for file in deepest_first}

    def read(self, file: str) -> bytes:
        """The content of a file.

        Raises
        ------
        DecodeError
            When it is too large, damaged in its archive, or cannot be opened.
        """
        entry = self.entries[file]
        try:
            return read_file(self.root, file)[0] if entry is None else _read_entry(*entry)
        except OSError as error:
            raise DecodeError("unreadable", f"cannot be opened: {error.strerror or error}") from error

    def rows(self, file: str | None, *required: str) -> tuple[TableRow, ...]:
        """Rows of a table, none without one; raises `UserError` where it cannot be read."""
        return parse_table(self.text_bytes(file), file, required).rows if file else ()

    def text_bytes(self, file: str) -> bytes:
        """The content of a table; raises `UserError`."""
        try:
            return self.read(file)
        except DecodeError as error:
            raise UserError("D7", f"{file} cannot be read ({error}). Get it again from its publisher.") from error

    def listing(self, base: str) -> Listing:
        """The part below the folder `base` ("" or ending in /) as `embryofl_data.reading.layouts` takes it."""
        inside = [file for file in self.images if file.startswith(base)]
        files = [file[len(base) :] for file in inside]
        tops = [file for file in self.entries if file.startswith(base) and "/" not in file[len(base) :]]
        tables = {file[len(base) :]: file for file in tops if not is_image_name(file)}
        contents = {name: self.text_bytes(file) for name, file in tables.items() if name.lower().endswith(".csv")}
        return Listing(
            self.root / base, files, {file: file for file in files}, tables=sorted(tables), contents=contents
        )


def _read_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    too_large = DecodeError("too_large", f"at most {MAX_FILE_BYTES >> 20} MiB are read")
    if info.file_size > MAX_FILE_BYTES:
        raise too_large
    try:
        with archive.open(info) as handle:
            data = handle.read(MAX_FILE_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise DecodeError("unreadable", f"damaged in its archive: {error}") from error
    if len(data) > MAX_FILE_BYTES:  # the archive lied about its size
        raise too_large
    return data


def open_source(place: Path) -> Source:
    """List a source.

    Raises
    ------
    UserError
        When it is missing, neither a folder nor a zip archive, or an archive that names files outside itself.
    """
    if not place.exists():
        raise UserError(
            "D1", f"{place} does not exist. Expected a folder, or a zip archive, with a data set. Check the path."
        )
    entries: dict[str, Entry] = {}
    skipped: list[SkippedFile] = []
    if place.is_dir():
        root = place.resolve()
        for name, kind, detail in walk(root):
            if kind == "file":
                entries[name] = None
            else:
                skipped.append(SkippedFile(name, detail or NO_LINKS))
        archives = [file for file in entries if "/" not in file and file.lower().endswith(".zip")]
    else:
        root, archives = place.resolve().parent, [place.name]
    for name in sorted(archives):
        entries.pop(name, None)
        _add_archive(root / name, name, entries, skipped)
    ordered = {file: entries[file] for file in sorted(entries)}
    return Source(root, ordered, tuple(sorted(skipped, key=lambda item: item.source)))


class _File(io.FileIO):
    """An archive's file, whose directory is read only if it is not too long: `zipfile` reads that as a whole."""

    listed = False

    def read(self, size: int | None = -1, /) -> bytes:
        if not self.listed and size is not None and size > DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its directory has {size:,} bytes, and at most {DIRECTORY_BYTES:,} are read")
        return super().read(size)


class _Archive(zipfile.ZipFile):
    """It closes its file, which `zipfile` leaves open where it has not opened it."""

    def __init__(self, file: _File) -> None:
        self._own = file
        try:
            super().__init__(file)
        except BaseException:
            file.close()
            raise
        file.listed = True

    def close(self) -> None:
        super().close()
        self._own.close()


def _add_archive(path: Path, name: str, entries: dict[str, Entry], skipped: list[SkippedFile]) -> None:
    try:
        archive = _Archive(_File(path))  # stays open as long as the source is read
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(
            "D7",
            f"{path} cannot be read as a zip archive ({error}). Expected a folder or a zip archive with a data set. It may "
            "be incomplete: get it again from its publisher.",
        ) from error
    if len(entries) + len(archive.infolist()) > MOST_FILES:
        raise UserError(
            "D7", f"{path.parent} and its archives hold more than {MOST_FILES:,} files. Unpack the part you need."
        )
    for info in archive.infolist():
        file = _safe_name(info, path)
        mode = info.external_attr >> 16
        if info.is_dir() or any(is_ignored(part) for part in file.split("/")):
            continue
        if stat.S_ISLNK(mode):
            skipped.append(SkippedFile(file, NO_LINKS, name))
        elif info.compress_type not in METHODS:
            skipped.append(SkippedFile(file, "compressed in a way that is not read", name))
        elif info.flag_bits & 1:
            skipped.append(SkippedFile(file, "encrypted in its archive", name))
        elif file in entries:
            skipped.append(SkippedFile(file, "another file has this name", name))
        else:
            entries[file] = (archive, info)


def _safe_name(info: zipfile.ZipInfo, path: Path) -> str:
    """An entry's name as a path inside the source.

    Raises
    ------
    UserError
        When it leads out: no published data set does that, so nothing of such an archive is imported.
    """
    parts = PurePosixPath(info.orig_filename.replace("\\", "/")).parts
    leads_out = any(part == ".." or "\0" in part for part in parts) or (parts and (parts[0] == "/" or ":" in parts[0]))
    if leads_out:
        raise UserError(
            "D7",
            f"{path} holds a file named {info.orig_filename[:80]!r}, which leads out of the archive. Such archives "
            "are made to overwrite files: nothing was imported. Get the data set again from its publisher.",
        )
    return "/".join(part for part in parts if part != ".")
