"""Back up a hub's state into one encrypted archive while the hub is running, and restore it.

The archive is an encrypted (`encryption`) tar file: `embryofl-backup.json` first (format and state version), then the
state's files under their names below the state folder (`weights/` wherever it is kept), `authority.age`, and `SHA256SUMS`
last, so that an incomplete one is rejected. `authority.age` holds the authority's key: the signer has encrypted it to the
same passphrase or public key, and after a restore the signer alone decrypts it.

The hub may keep running because files are replaced atomically or only appended to. The order matters: the database before
the audit log (the log may be ahead of its head, never behind), and each round's record with its weights, newest first,
before pruning removes them. After a restore the interrupted round is repeated, as after a kill.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import sqlite3
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from embryofl.errors import UserError
from embryofl.files import atomic
from embryofl_server.settings import HubSettings
from embryofl_server.state import database
from embryofl_server.state.encryption import EXPECTED, decrypted, encrypted, is_sealed

FORMAT = 1
MANIFEST, SUMS, DATABASE, AUTHORITY = "embryofl-backup.json", "SHA256SUMS", "clinics.db", "authority.age"
_TOP = (MANIFEST, SUMS, DATABASE, AUTHORITY, "audit.jsonl", "last_seen.json", "identity", "runs", "weights")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Contents:
    """Counts of an archive: runs, clinics and bytes; of one that was read also `authority`, which the signer decrypts."""

    runs: int
    clinics: int
    size: int
    authority: bytes = b""


class _Writer:
    """Writes files into a tar stream and records the SHA-256 of each."""

    def __init__(self, out: BinaryIO) -> None:
        self._tar = tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._sums: dict[str, str] = {}
        self.size = 0

    def data(self, name: str, data: bytes) -> None:
        """Add a file from memory."""
        self._add(name, io.BytesIO(data), len(data))

    def file(self, name: str, path: Path) -> None:
        """Add a file if it (still) exists; of one that is appended to, the complete lines."""
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            if path.suffix == ".jsonl":
                data = file.read()
                self.data(name, data[: data.rfind(b"\n") + 1])
            else:
                self._add(name, file, os.fstat(file.fileno()).st_size)

    def _add(self, name: str, file: io.BytesIO | io.BufferedReader, size: int) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mtime = size, int(time.time())
        self._tar.addfile(entry, file)
        self.size += size
        file.seek(0)
        self._sums[name] = hashlib.file_digest(file, "sha256").hexdigest()

    def close(self) -> None:
        """Write the checksums and close the archive."""
        self.data(SUMS, json.dumps(self._sums, indent=1).encode())
        self._tar.close()


def write_backup(
    settings: HubSettings, out: BinaryIO, authority: bytes, passphrase: str, public_key: str = ""
) -> Contents:
    """Write a hub's state as an archive, encrypted to the public key if there is one, otherwise to the passphrase.

    Parameters
    ----------
    settings : HubSettings
    out : BinaryIO
    authority : bytes
        The authority's key, which the signer has encrypted (`sealed`).
    passphrase, public_key : str

    Raises
    ------
    UserError
        If the state folder of the settings is not a hub's, the authority's key is missing, or passphrase or public key
        cannot be used.
    """
    if not (settings.state_dir / DATABASE).exists():
        raise UserError("H3", f"{settings.state_dir} is not a hub's state folder. Set EMBRYOFL_STATE_DIR to one.")
    if not is_sealed(authority):
        raise UserError("H4", "The authority's key is missing. Expected what `signer backup` writes. Run: make backup")
    with encrypted(out, settings.state_dir, passphrase, public_key) as archive:
        return _write(settings, _Writer(archive), authority)


def _write(settings: HubSettings, writer: _Writer, authority: bytes) -> Contents:
    state = settings.state_dir
    manifest = {
        "format": FORMAT,
        "schema": database.VERSION,
        "version": version("embryofl-server"),
        "made": time.time(),
    }
    writer.data(MANIFEST, json.dumps(manifest).encode())
    writer.data(AUTHORITY, authority)
    writer.data(DATABASE, _snapshot(state / DATABASE))
    for name in ("audit.jsonl", "last_seen.json"):
        writer.file(name, state / name)
    for path in sorted((state / "identity").rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            writer.file(str(path.relative_to(state)), path)
    runs = sorted(p for p in (state / "runs").glob("run-*") if p.is_dir())
    for run in runs:
        _add_run(writer, run, settings.weights / run.name)
    writer.close()
    return Contents(len(runs), _count_clinics(state / DATABASE), writer.size)


def _snapshot(path: Path) -> bytes:
    """A consistent copy of the database, even while it is being written to."""
    with (
        contextlib.closing(sqlite3.connect(path, timeout=30)) as source,
        contextlib.closing(sqlite3.connect(":memory:")) as copy,
    ):
        source.backup(copy)
        return copy.serialize()


def _count_clinics(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as db:
        return int(db.execute("SELECT count(*) FROM clinics").fetchone()[0])


def _add_run(writer: _Writer, run: Path, weights: Path) -> None:
    name = f"runs/{run.name}"
    for record in sorted(run.glob("round-*.json"), reverse=True):
        state, packed = record.with_suffix(".state"), weights / f"{record.stem}.safetensors"
        writer.file(f"weights/{run.name}/{packed.name}", packed)  # pruned for older rounds
        writer.file(f"{name}/{state.name}", state)
        writer.file(f"{name}/{record.name}", record)
    for path in sorted(run.iterdir()):
        if path.is_file() and not path.name.startswith((".", "round-")):
            writer.file(f"{name}/{path.name}", path)


def read_backup(
    settings: HubSettings,
    source: BinaryIO,
    secret: str,
    settle: Callable[[Path, float], object] = lambda folder, made: None,
) -> Contents:
    """Restore an archive into the (empty) state folder of the settings. It is decrypted and checked completely first.

    Parameters
    ----------
    settings : HubSettings
    source : BinaryIO
    secret : str
        The archive's passphrase, or the private key of the public key that it was encrypted to.
    settle : callable
        Changes the unpacked state in its folder before anything is put in its place; also receives when the archive was
        made (Unix time). What it raises ends the restore.

    Raises
    ------
    UserError
        If the folder already holds a hub's state, the archive is foreign, damaged or of another version, or the secret is
        another.
    """
    state = settings.state_dir
    existing = [n for n in (DATABASE, "audit.jsonl", "identity/ca.crt", "runs") if (state / n).exists()]
    if existing:
        raise UserError(
            "H4",
            f"{state} already holds a hub's state ({', '.join(existing)}). Expected an empty folder, so that nothing is "
            "overwritten. Move the old state away first.",
        )
    state.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=state, prefix=".restore-"))
    try:
        with decrypted(source, secret, staging) as archive:
            names = _unpack(archive, staging)
        settle(staging, float(json.loads((staging / MANIFEST).read_bytes())["made"]))
        if AUTHORITY not in names:
            raise UserError("H4", f"The archive has no {AUTHORITY}. {EXPECTED}")
        order = sorted(n for n in names if n not in (MANIFEST, SUMS, DATABASE, AUTHORITY))
        for name in [*order, DATABASE]:  # last: the hub rejects a state without its database
            _put(staging / name, _place(settings, name), _mode(name))
        size = sum((staging / n).stat().st_size for n in names)
        runs = {PurePosixPath(n).parts[1] for n in names if n.startswith("runs/")}
        return Contents(len(runs), _count_clinics(state / DATABASE), size, (staging / AUTHORITY).read_bytes())
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _place(settings: HubSettings, name: str) -> Path:
    first, _, rest = name.partition("/")
    return settings.weights / rest if first == "weights" else settings.state_dir / name


def _mode(name: str) -> int:
    """As the hub itself creates the file; whoever made the archive has no say."""
    secret = name == DATABASE or (name.startswith("identity/") and not name.endswith((".crt", ".pub")))
    return 0o600 if secret else 0o644


def _put(source: Path, target: Path, mode: int) -> None:
    with source.open("rb") as file, atomic(target, mode) as out:
        shutil.copyfileobj(file, out, _CHUNK)


def _unpack(source: BinaryIO, staging: Path) -> list[str]:
    """Extract into `staging` and check; returns the names."""
    digests: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=source, mode="r|") as tar:
            for entry in tar:
                if not digests and entry.name != MANIFEST:
                    raise UserError("H4", f"The archive begins with {entry.name!r} instead of {MANIFEST}. {EXPECTED}")
                digests[entry.name] = _extract(tar, entry, staging)
                if entry.name == MANIFEST:
                    _check_manifest((staging / MANIFEST).read_bytes())
    except (tarfile.TarError, EOFError, OSError) as exc:
        raise UserError("H4", f"The archive cannot be read ({exc}). {EXPECTED}") from exc
    try:
        sums = json.loads((staging / SUMS).read_text())
    except (OSError, ValueError):
        raise UserError("H4", f"The archive is incomplete. {EXPECTED}") from None
    wrong = sorted(set(sums) ^ (set(digests) - {SUMS}) | {n for n, digest in sums.items() if digests.get(n) != digest})
    if wrong:
        raise UserError("H4", f"The archive is damaged: {', '.join(wrong[:5])}. {EXPECTED}")
    return list(digests)


def _extract(tar: tarfile.TarFile, entry: tarfile.TarInfo, staging: Path) -> str:
    """Extract one file and return its SHA-256. Only regular files at known paths: its maker may be hostile."""
    path = PurePosixPath(entry.name)
    parts = path.parts
    if not entry.isreg() or path.is_absolute() or ".." in parts or not parts or parts[0] not in _TOP or len(parts) > 4:
        raise UserError("H4", f"The archive holds {entry.name!r}, which is not part of a hub's state. {EXPECTED}")
    target = staging / entry.name
    target.parent.mkdir(parents=True, exist_ok=True)
    file = tar.extractfile(entry)
    assert file is not None
    with target.open("x+b") as out:
        shutil.copyfileobj(file, out, _CHUNK)
        out.seek(0)
        return hashlib.file_digest(out, "sha256").hexdigest()


def _check_manifest(data: bytes) -> None:
    try:
        manifest = json.loads(data)
        format_, version_, _ = int(manifest["format"]), int(manifest["schema"]), float(manifest["made"])
    except (ValueError, KeyError, TypeError):
        raise UserError("H4", f"The archive's {MANIFEST} is damaged. {EXPECTED}") from None
    if (format_, version_) != (FORMAT, database.VERSION):
        raise UserError(
            "H4",
            f"The archive is of another EmbryoFL (state version {version_}). This one restores version "
            f"{database.VERSION} only. Install the EmbryoFL that wrote the archive, then restore.",
        )


def opened_for_writing(path: str) -> AbstractContextManager[BinaryIO]:
    """The archive's file, readable by its owner only and created only when complete; "-" is standard output."""
    return contextlib.nullcontext(sys.stdout.buffer) if path == "-" else atomic(Path(path), mode=0o600)


def opened_for_reading(path: str) -> AbstractContextManager[BinaryIO]:
    """The archive's file; "-" is standard input."""
    if path == "-":
        return contextlib.nullcontext(sys.stdin.buffer)
    if not Path(path).is_file():
        raise UserError("H4", f"{path} is not a file. Expected an archive written by make backup.")
    return Path(path).open("rb")
