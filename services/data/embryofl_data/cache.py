"""Decoded images on disk, so that no epoch and no second start decodes a file twice.

The cache folder holds, for one data folder and image size:

- `<size>px-<folder>.json`: the index: for each file its size, modification time, SHA-256 and row, or why it has none;
- `<size>px-<folder>-<content>.u8`: raw uint8 (n, size, size, 3), one row per content, memory-mapped.

A file whose size and time are as in the index is not opened. Otherwise it is hashed, and only new content (for this
decode version) is decoded; all other rows are copied. The pixels are written to a new file, then the index is replaced,
so that a kill at any time leaves the old state or the new one. A lock makes a second process wait and then find the work
done. A damaged index is rebuilt.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from embryofl.errors import UserError
from embryofl.files import atomic, write_atomic
from embryofl.schema import Strict
from embryofl_data.output import NO_SPACE
from embryofl_data.reading.decode import DECODE_VERSION
from embryofl_data.reading.scan import EarlierFiles, FileInfo, scan_files


class _Index(Strict):
    """The index file. `rows` maps SHA-256 to a row of the pixel file `pixels`."""

    version: str = DECODE_VERSION
    image_size: int
    pixels: str = ""
    rows: dict[str, int] = {}
    files: dict[str, FileInfo] = {}


@dataclass(frozen=True)
class DecodedCache:
    """Decoded images of one folder.

    Attributes
    ----------
    pixels : numpy.ndarray
        uint8 (n, size, size, 3), read-only memory map.
    rows : dict of str to int
        File to row, for the requested files that could be decoded. Files with the same content share a row.
    infos : dict of str to FileInfo
        What is known of every requested file.
    decoded : int
        How many files were decoded by this call.
    """

    pixels: npt.NDArray[np.uint8]
    rows: dict[str, int]
    infos: dict[str, FileInfo]
    decoded: int


def open_cache(root: Path, files: Sequence[str], cache_dir: Path, image_size: int) -> DecodedCache:
    """Open the cache of a data folder, decoding to squares of `image_size` pixels what is not in it yet.

    Parameters
    ----------
    files : sequence of str
        Relative to `root`. Others that the cache holds are kept as long as they are unchanged.
    cache_dir : Path
        Created when missing. May be shared by folders and image sizes.

    Raises
    ------
    UserError
        When the cache folder cannot be written, or the disk has no space left (nothing partial is left then).
    """
    cache = _CacheFolder(root, cache_dir, image_size)
    wanted = sorted(set(files))
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with cache.locked():
            return cache.open(wanted)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise cache.no_space(len(wanted)) from error
        raise UserError(
            "D6",
            f"The cache folder {cache_dir} cannot be written ({error.strerror or error}). Expected a folder of its own "
            "that the user who runs this may write to. Change its owner or name another.",
        ) from error


class _CacheFolder:
    """The files of one data folder and image size in the cache folder: their names begin with `stem`."""

    def __init__(self, root: Path, folder: Path, size: int) -> None:
        self.root, self.folder, self.size = root, folder, size
        self.stem = f"{size}px-{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:12]}"

    def open(self, wanted: list[str]) -> DecodedCache:
        """Pixels and information of the wanted files."""
        index, decoded = self.read_index(), 0
        self.sweep(keep=index.pixels)  # what a killed build left
        earlier = EarlierFiles(index.files, set(index.rows))
        if not index.pixels or not all(earlier.is_fresh(self.root, file) for file in wanted):
            keep = sorted({*wanted, *(file for file in earlier.files if earlier.is_fresh(self.root, file))})
            if len(keep) * self.size * self.size * 3 > shutil.disk_usage(self.folder).free:
                raise self.no_space(len(keep))
            index, decoded = self.build(keep, index, earlier)
            self.sweep(keep=index.pixels)
        infos = {file: index.files[file] for file in wanted}
        rows = {file: index.rows[info.sha256] for file, info in infos.items() if info.usable}
        return DecodedCache(self.map(index), rows, infos, decoded)

    def build(self, files: list[str], old: _Index, earlier: EarlierFiles) -> tuple[_Index, int]:
        """Write new pixels and index: earlier content is copied row by row, the rest decoded."""
        old_pixels = self.map(old)
        rows: dict[str, int] = {}
        infos: dict[str, FileInfo] = {}
        decoded = 0
        unfinished = self.folder / f"{self.stem}-unfinished.u8"
        with atomic(unfinished, 0o600) as handle:
            for scanned in scan_files(self.root, files, self.size, earlier):
                info = scanned.info
                infos[info.file] = info
                decoded += scanned.pixels is not None
                if info.usable and info.sha256 not in rows:
                    pixels = old_pixels[old.rows[info.sha256]] if scanned.pixels is None else scanned.pixels
                    rows[info.sha256] = len(rows)
                    handle.write(pixels.tobytes())
        content = hashlib.sha256("\n".join([DECODE_VERSION, str(self.size), *rows]).encode()).hexdigest()[:16]
        index = _Index(image_size=self.size, pixels=f"{self.stem}-{content}.u8", rows=rows, files=infos)
        unfinished.replace(self.folder / index.pixels)
        write_atomic(self.folder / f"{self.stem}.json", index.model_dump_json().encode(), 0o600)  # it names files
        return index, decoded

    def map(self, index: _Index) -> npt.NDArray[np.uint8]:
        """Map the pixel file; numpy cannot map an empty one."""
        shape = (len(index.rows), self.size, self.size, 3)
        return (
            np.memmap(self.folder / index.pixels, np.uint8, "r", shape=shape)
            if index.rows
            else np.zeros(shape, np.uint8)
        )

    def read_index(self) -> _Index:
        """The index, an empty one where there is none that can be trusted."""
        empty = _Index(image_size=self.size)
        try:
            index = _Index.model_validate_json((self.folder / f"{self.stem}.json").read_bytes())
            path = self.folder / index.pixels
            complete = path.parent == self.folder and path.stat().st_size == len(index.rows) * self.size * self.size * 3
        except (OSError, ValidationError, ValueError):
            return empty
        consistent = (
            index.version == DECODE_VERSION
            and index.image_size == self.size
            and sorted(index.rows.values()) == list(range(len(index.rows)))
            and all(info.sha256 in index.rows for info in index.files.values() if info.usable)
        )
        return index if complete and consistent else empty

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold an exclusive lock; the kernel releases it however the process ends."""
        with (self.folder / f"{self.stem}.lock").open("ab") as handle:
            # Some network file systems have no locks: writes are atomic there too, but work may be done twice.
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def sweep(self, keep: str) -> None:
        """Remove pixel files and temporary files that no index names any more (readers keep their maps)."""
        for path in (*self.folder.glob(f"{self.stem}-*"), *self.folder.glob(f".{self.stem}[.-]*")):
            if path.name != keep:
                path.unlink(missing_ok=True)

    def no_space(self, images: int) -> UserError:
        """The error of a disk that has no room for these images."""
        free, needed = shutil.disk_usage(self.folder).free, images * self.size * self.size * 3
        return UserError(
            "S4",
            f"No disk space left for decoded images in {self.folder}: {free / 1e6:.0f} MB are free, {needed / 1e6:.0f} MB "
            "are needed. Free some, name a cache folder on another disk, or choose a smaller image size.",
        )
