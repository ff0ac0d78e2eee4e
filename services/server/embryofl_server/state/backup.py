"""One archive of a hub's whole state, made while the hub works, and the way back.

A tar file: `embryofl-backup.json` first (what it is, and the version of the state), then the state's files under the
names they have below the state folder (`weights/` wherever it is kept), and `SHA256SUMS` last: an archive that was cut off
or changed is refused whole.

The hub need not stand still. Files are replaced whole or only added to, so what decides is the order: the database before
the audit log (a log may be ahead of its head, not behind), and each round's record together with its weights, newest
first, before pruning can come to them. What a run had in hand is done again after a restore, as after a kill.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from embryofl.errors import UserError
from embryofl.files import atomic
from embryofl_server.settings import HubSettings
from embryofl_server.state import schema

FORMAT = 1
MANIFEST, SUMS, DATABASE = "embryofl-backup.json", "SHA256SUMS", "clinics.db"
_TOP = (MANIFEST, SUMS, DATABASE, "audit.jsonl", "last_seen.json", "identity", "runs", "weights")
_LINES = (".jsonl",)  # files that are added to: taken up to their last whole line
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Contents:
    """What an archive holds: runs, clinics, files and bytes."""

    runs: int
    clinics: int
    files: int
    size: int


class _Writer:
    """Files into a tar stream, each with its SHA-256 remembered."""

    def __init__(self, out: BinaryIO) -> None:
        self._tar = tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._sums: dict[str, str] = {}
        self.size = 0

    def data(self, name: str, data: bytes, mode: int = 0o600) -> None:
        """A file from memory."""
        self.stream(name, io.BytesIO(data), len(data), mode)

    def stream(self, name: str, file: BinaryIO, size: int, mode: int) -> None:
        """A file of which `size` bytes are read."""
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.mtime = size, mode & 0o777, int(time.time())
        reader = _Hashing(file)
        self._tar.addfile(entry, reader)
        if name != SUMS:
            self._sums[name] = reader.digest.hexdigest()
        self.size += size

    def close(self) -> int:
        """Write the sums and end the archive; returns the number of files."""
        self.data(SUMS, json.dumps(self._sums, indent=1).encode())
        self._tar.close()
        return len(self._sums)


class _Hashing:
    """Hashes what is read through it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """As a file's."""
        data = self._file.read(size)
        self.digest.update(data)
        return data


# -- making -------------------------------------------------------------------------------------------------------------
def write_backup(settings: HubSettings, out: BinaryIO) -> Contents:
    """Write a hub's state as an archive.

    Raises
    ------
    UserError
        When there is no hub at the settings' state folder.
    """
    state = settings.state_dir
    if not (state / DATABASE).exists():
        raise UserError(f"There is no hub's state in {state}. Expected a hub's: set EMBRYOFL_STATE_DIR.")
    writer = _Writer(out)
    manifest = {"format": FORMAT, "schema": schema.CURRENT, "version": version("embryofl-server"), "made": time.time()}
    writer.data(MANIFEST, json.dumps(manifest).encode())
    writer.data(DATABASE, _snapshot(state / DATABASE))
    for name in ("audit.jsonl", "last_seen.json"):
        _add(writer, state / name, name)
    for path in sorted((state / "identity").rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            _add(writer, path, str(path.relative_to(state)))
    runs = sorted(p for p in (state / "runs").glob("run-*") if p.is_dir())
    for run in runs:
        _add_run(writer, run, settings.weights / run.name)
    return Contents(len(runs), _count_clinics(state / DATABASE), writer.close(), writer.size)


def _snapshot(path: Path) -> bytes:
    """A consistent copy of the database, whoever is writing to it."""
    with (
        contextlib.closing(sqlite3.connect(path, timeout=30)) as source,
        contextlib.closing(sqlite3.connect(":memory:")) as copy,
    ):
        source.backup(copy)
        return copy.serialize()


def _count_clinics(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as db:
        return int(db.execute("SELECT count(*) FROM clinics").fetchone()[0])


def _add(writer: _Writer, path: Path, name: str) -> bool:
    """Add a file if it is (still) there."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            size = _whole_lines(file, status.st_size) if path.suffix in _LINES else status.st_size
            writer.stream(name, file, size, status.st_mode)
    except FileNotFoundError:
        return False
    return True


def _whole_lines(file: BinaryIO, size: int) -> int:
    """Bytes up to the end of the last whole line; the file is at its beginning afterwards."""
    end, block = size, 1 << 16
    while end > 0:
        begin = max(0, end - block)
        file.seek(begin)
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            end = begin + found + 1
            break
        end = begin
    file.seek(0)
    return end


def _add_run(writer: _Writer, run: Path, weights: Path) -> None:
    name = f"runs/{run.name}"
    for record in sorted(run.glob("round-*.json"), reverse=True):
        state, packed = record.with_suffix(".state"), weights / f"{record.stem}.safetensors"
        _add(writer, packed, f"weights/{run.name}/{packed.name}")  # of older rounds there is none any more
        _add(writer, state, f"{name}/{state.name}")
        _add(writer, record, f"{name}/{record.name}")
    for path in sorted(run.iterdir()):
        known = path.stem.startswith("round-") or path.name.startswith(".")
        if path.is_file() and not known:
            _add(writer, path, f"{name}/{path.name}")


# -- going back ---------------------------------------------------------------------------------------------------------
def read_backup(settings: HubSettings, source: BinaryIO) -> Contents:
    """Put an archive's state into the settings' (empty) state folder. Nothing is touched before all of it was checked.

    Raises
    ------
    UserError
        When there is a hub's state already, or the archive is none, damaged, or of a newer version.
    """
    state = settings.state_dir
    there = [n for n in (DATABASE, "audit.jsonl", "identity/ca.key", "runs") if (state / n).exists()]
    if there:
        raise UserError(
            f"{state} holds a hub's state already ({', '.join(there)}). Expected an empty folder, so that nothing is "
            "overwritten: move it away first."
        )
    state.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=state, prefix=".restore-"))
    try:
        names = _unpack(source, staging)
        order = sorted(n for n in names if n not in (MANIFEST, SUMS, DATABASE))
        for name in [*order, DATABASE]:  # last: a state without its database is refused, not taken for a new one
            _put(staging / name, _place(settings, name))
        size = sum((staging / n).stat().st_size for n in names)
        runs = {PurePosixPath(n).parts[1] for n in names if n.startswith("runs/")}
        return Contents(len(runs), _count_clinics(state / DATABASE), len(names) - 1, size)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _place(settings: HubSettings, name: str) -> Path:
    first, _, rest = name.partition("/")
    return settings.weights / rest if first == "weights" else settings.state_dir / name


def _put(source: Path, target: Path) -> None:
    with source.open("rb") as file, atomic(target, mode=source.stat().st_mode & 0o777) as out:
        shutil.copyfileobj(file, out, _CHUNK)


def _unpack(source: BinaryIO, staging: Path) -> list[str]:
    """Into `staging`, checked; returns the names."""
    found: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=source, mode="r|") as tar:
            for entry in tar:
                if not found and entry.name != MANIFEST:
                    raise UserError(f"The archive begins with {entry.name!r}, expected was {MANIFEST}. {_OTHER}")
                found[entry.name] = _take(tar, entry, staging)
                if entry.name == MANIFEST:
                    _check_manifest((staging / MANIFEST).read_bytes())
    except (tarfile.TarError, EOFError, OSError) as exc:
        raise UserError(f"The archive cannot be read ({exc}). {_OTHER}") from exc
    try:
        sums = json.loads((staging / SUMS).read_text())
    except (OSError, ValueError):
        raise UserError(f"The archive has no end: it was cut off. {_OTHER}") from None
    wrong = sorted(set(sums) ^ (set(found) - {SUMS}) | {n for n, digest in sums.items() if found.get(n) != digest})
    if wrong:
        raise UserError(f"The archive is damaged: {', '.join(wrong[:5])}. {_OTHER}")
    return list(found)


_OTHER = "Expected was a whole file that `make backup` wrote: take another backup."


def _take(tar: tarfile.TarFile, entry: tarfile.TarInfo, staging: Path) -> str:
    """One file; returns its SHA-256. Whatever a stranger could have put into an archive is not followed."""
    path = PurePosixPath(entry.name)
    parts = path.parts
    if not entry.isreg() or path.is_absolute() or ".." in parts or not parts or parts[0] not in _TOP or len(parts) > 4:
        raise UserError(f"The archive holds {entry.name!r}, which is no part of a hub's state. {_OTHER}")
    target = staging / entry.name
    target.parent.mkdir(parents=True, exist_ok=True)
    file = tar.extractfile(entry)
    assert file is not None
    reader = _Hashing(file)  # type: ignore[arg-type]
    with target.open("xb") as out:
        for chunk in iter(lambda: reader.read(_CHUNK), b""):
            out.write(chunk)
    target.chmod(entry.mode & 0o755)
    return reader.digest.hexdigest()


def _check_manifest(data: bytes) -> None:
    try:
        manifest = json.loads(data)
        form, its_schema = int(manifest["format"]), int(manifest["schema"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"The archive does not say what it is. {_OTHER}") from None
    if form > FORMAT or its_schema > schema.CURRENT:
        raise UserError(
            f"The archive is of a newer EmbryoFL (state version {its_schema}); this one knows versions up to "
            f"{schema.CURRENT}. Install that version or a newer one, then restore."
        )


@contextlib.contextmanager
def opened_for_writing(path: str) -> Iterator[BinaryIO]:
    """The archive's file, readable by its owner only and there only when it is whole; "-" is standard output."""
    if path == "-":
        import sys

        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with atomic(Path(path), mode=0o600) as file:
        yield file


@contextlib.contextmanager
def opened_for_reading(path: str) -> Iterator[BinaryIO]:
    """The archive's file; "-" is standard input."""
    if path == "-":
        import sys

        yield sys.stdin.buffer
        return
    if not Path(path).is_file():
        raise UserError(f"There is no file {path}. Expected one that `make backup` wrote.")
    with Path(path).open("rb") as file:
        yield file
