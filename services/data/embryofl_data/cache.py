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
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from embryofl.errors import UserError
from embryofl.files import write_atomic
from embryofl_data.output import NO_SPACE
from embryofl_data.reading.decode import DECODE_VERSION
from embryofl_data.reading.scan import FileInfo, Known, scan_files

Progress = Callable[[int, int], None]


class _Index(BaseModel):
    """The index file. `rows` maps SHA-256 to a row of the pixel file `pixels`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    image_size: int
    pixels: str
    rows: dict[str, int]
    files: dict[str, FileInfo]


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


def open_cache(
    root: Path, files: Sequence[str], cache_dir: Path, image_size: int, progress: Progress | None = None
) -> DecodedCache:
    """Open the cache of a data folder, decoding to squares of `image_size` pixels what is not in it yet.

    Parameters
    ----------
    files : sequence of str
        Relative to `root`. Others that the cache holds are kept as long as they are unchanged.
    cache_dir : Path
        Created when missing. May be shared by folders and image sizes.
    progress : callable, optional
        Called with (done, total) files.

    Raises
    ------
    UserError
        When the cache folder cannot be written, or the disk has no space left (nothing partial is left then).
    """
    stem = f"{image_size}px-{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:12]}"
    wanted = sorted(set(files))
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with _lock(cache_dir / f"{stem}.lock"):
            return _open(root, wanted, cache_dir, stem, image_size, progress)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise _no_space(cache_dir, len(wanted) * image_size * image_size * 3) from error
        raise UserError(
            f"The cache folder {cache_dir} cannot be written ({error.strerror or error}). Expected a folder of its own "
            "that the user who runs this may write to. Change its owner or name another."
        ) from error


def _open(
    root: Path, wanted: list[str], cache_dir: Path, stem: str, size: int, progress: Progress | None
) -> DecodedCache:
    old = _read_index(cache_dir, stem, size)
    _sweep(cache_dir, stem, keep=old.pixels if old else "")  # what a killed build left
    known = Known(old.files if old else {}, set(old.rows) if old else set())
    fresh = {file for file in wanted if known.is_fresh(root, file)}
    if old and len(fresh) == len(wanted):
        if progress:
            progress(len(wanted), len(wanted))
        return _result(cache_dir, old, size, wanted, decoded=0)
    keep = sorted(set(wanted) | {file for file in known.files if known.is_fresh(root, file)})
    needed = len(keep) * size * size * 3
    if needed > shutil.disk_usage(cache_dir).free:
        raise _no_space(cache_dir, needed)
    index, decoded = _build(root, keep, cache_dir, stem, size, old, known, progress)
    _sweep(cache_dir, stem, keep=index.pixels)
    return _result(cache_dir, index, size, wanted, decoded)


def _build(
    root: Path,
    files: list[str],
    cache_dir: Path,
    stem: str,
    size: int,
    old: _Index | None,
    known: Known,
    progress: Progress | None,
) -> tuple[_Index, int]:
    """Write new pixels and index: known content is copied row by row, the rest decoded."""
    old_pixels = _map(cache_dir / old.pixels, len(old.rows), size) if old else None
    rows: dict[str, int] = {}
    infos: dict[str, FileInfo] = {}
    decoded = 0
    with _replacing(cache_dir, stem) as (handle, temporary):
        for done, scanned in enumerate(scan_files(root, files, size, known), 1):
            info = scanned.info
            infos[info.file] = info
            if scanned.pixels is not None:
                decoded += 1
            if info.usable and info.sha256 not in rows:
                if scanned.pixels is not None:
                    pixels = scanned.pixels
                else:
                    assert old is not None and old_pixels is not None  # known content comes from the old index
                    pixels = old_pixels[old.rows[info.sha256]]
                rows[info.sha256] = len(rows)
                handle.write(pixels.tobytes())
            if progress:
                progress(done, len(files))
        handle.flush()
        os.fsync(handle.fileno())
        content = hashlib.sha256("\n".join([DECODE_VERSION, str(size), *rows]).encode()).hexdigest()[:16]
        name = f"{stem}-{content}.u8"
        temporary.replace(cache_dir / name)
    index = _Index(version=DECODE_VERSION, image_size=size, pixels=name, rows=rows, files=infos)
    write_atomic(cache_dir / f"{stem}.json", index.model_dump_json().encode(), 0o600)  # it names files
    return index, decoded


def _result(cache_dir: Path, index: _Index, size: int, wanted: list[str], decoded: int) -> DecodedCache:
    infos = {file: index.files[file] for file in wanted}
    rows = {file: index.rows[info.sha256] for file, info in infos.items() if info.usable}
    return DecodedCache(_map(cache_dir / index.pixels, len(index.rows), size), rows, infos, decoded)


def _map(path: Path, rows: int, size: int) -> npt.NDArray[np.uint8]:
    """Map a pixel file; numpy cannot map an empty one."""
    if rows == 0:
        return np.zeros((0, size, size, 3), np.uint8)
    return np.memmap(path, np.uint8, "r", shape=(rows, size, size, 3))


def _read_index(cache_dir: Path, stem: str, size: int) -> _Index | None:
    """The index, or None where there is none that can be trusted."""
    try:
        index = _Index.model_validate_json((cache_dir / f"{stem}.json").read_bytes())
        path = cache_dir / index.pixels
        complete = path.parent == cache_dir and path.stat().st_size == len(index.rows) * size * size * 3
    except (OSError, ValidationError, ValueError):
        return None
    consistent = (
        index.version == DECODE_VERSION
        and index.image_size == size
        and sorted(index.rows.values()) == list(range(len(index.rows)))
        and all(info.sha256 in index.rows for info in index.files.values() if info.usable)
    )
    return index if complete and consistent else None


@contextlib.contextmanager
def _replacing(folder: Path, stem: str) -> Iterator[tuple[IO[bytes], Path]]:
    """A temporary file that the body renames; it is removed when the body fails."""
    handle = tempfile.NamedTemporaryFile(dir=folder, prefix=f"{stem}-", suffix=".tmp", delete=False)  # noqa: SIM115
    try:
        with handle:
            yield handle, Path(handle.name)
    except BaseException:
        Path(handle.name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; the kernel releases it however the process ends."""
    with path.open("ab") as handle:
        # Some network file systems have no locks: writes are atomic there too, but work may be done twice.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _sweep(cache_dir: Path, stem: str, keep: str) -> None:
    """Remove pixel files and temporary files that no index names any more (readers keep their maps)."""
    for path in (*cache_dir.glob(f"{stem}-*"), *cache_dir.glob(f".{stem}.*")):
        if path.name != keep:
            path.unlink(missing_ok=True)


def _no_space(cache_dir: Path, needed: int) -> UserError:
    free = shutil.disk_usage(cache_dir).free
    return UserError(
        f"No disk space left for decoded images in {cache_dir}: {free / 1e6:.0f} MB are free, {needed / 1e6:.0f} MB "
        "are needed. Free some, name a cache folder on another disk, or choose a smaller image size."
    )
