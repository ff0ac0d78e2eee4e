"""Earlier measurements on disk, so that a second check only opens what changed.

One SQLite file for each data folder: file, size, modification time and measurements. A file counts as unchanged while
size and modification time are. A new version of the measuring rules empties the store, and a damaged one is rebuilt. It
holds small features and file names of the clinic's images and stays in the clinic's own folder.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from embryofl.errors import UserError
from embryofl_data.report.measure import MEASURE_VERSION, Measured

COMMIT_EVERY = 256


class MeasurementStore:
    """Measurements by file, in a connection made by `open_store`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._unsaved = 0

    def fresh(self, root: Path, files: Sequence[str]) -> set[str]:
        """Those of `files` that have the size and modification time at which they were measured."""
        known = {
            file: (size, mtime)
            for file, size, mtime in self._connection.execute("SELECT file, size_bytes, mtime_ns FROM measured")
        }
        return {file for file in files if file in known and known[file] == _stamp(root / file)}

    def get(self, file: str) -> Measured:
        """The measurement of a file that is `fresh`."""
        (blob,) = self._connection.execute("SELECT content FROM measured WHERE file = ?", (file,)).fetchone()
        return Measured.from_bytes(blob)

    def put(self, measured: Measured) -> None:
        """Keep a measurement. A file that could not be opened (no time known) is tried again the next time."""
        info = measured.info
        row = (info.file, info.size_bytes, info.mtime_ns, measured.to_bytes())
        self._connection.execute("INSERT OR REPLACE INTO measured VALUES (?, ?, ?, ?)", row)
        self._unsaved += 1
        if self._unsaved >= COMMIT_EVERY:
            self.save()

    def forget_others(self, files: Sequence[str]) -> None:
        """Drop what is known of files that are no longer there."""
        gone = {file for (file,) in self._connection.execute("SELECT file FROM measured")} - set(files)
        self._connection.executemany("DELETE FROM measured WHERE file = ?", ((file,) for file in gone))

    def compared(self, key: str) -> str | None:
        """The result of comparing exactly these images before, None if they were not."""
        row = self._connection.execute("SELECT content FROM compared WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else None

    def keep_compared(self, key: str, content: str) -> None:
        """Keep the result of comparing all images; it replaces the previous one."""
        self._connection.execute("DELETE FROM compared")
        self._connection.execute("INSERT INTO compared VALUES (?, ?)", (key, content))

    def save(self) -> None:
        """Commit the measurements."""
        self._connection.commit()
        self._unsaved = 0


@contextmanager
def open_store(root: Path, cache_dir: Path | None) -> Iterator[MeasurementStore]:
    """Open the store of a data folder below `cache_dir`; without one it is temporary.

    Raises
    ------
    UserError
        When the folder cannot be written.
    """
    connection = _connect(root, cache_dir)
    try:
        store = MeasurementStore(connection)
        yield store
        store.save()
    except sqlite3.OperationalError as error:
        raise UserError(
            f"The cache folder {cache_dir} cannot be written ({error}). Expected a folder of its own with free space "
            "that the user who runs this may write to: change its owner, or name another with --cache."
        ) from error
    finally:
        connection.close()


def _connect(root: Path, cache_dir: Path | None) -> sqlite3.Connection:
    if cache_dir is None:
        return _prepare(sqlite3.connect(""))
    path = cache_dir / f"report-{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:12]}.sqlite"
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=30)
    except (OSError, sqlite3.OperationalError) as error:
        raise UserError(
            f"The cache folder {cache_dir} cannot be used ({error}). Expected a folder that the user who runs this may "
            "write to: change its owner, or name another with --cache."
        ) from error
    try:
        return _prepare(connection)
    except sqlite3.DatabaseError as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError):
            raise UserError(
                f"The cache file {path} cannot be used ({error}). Name another folder with --cache."
            ) from error
        path.unlink(missing_ok=True)  # damaged: it only holds what can be measured again
        return _prepare(sqlite3.connect(path, timeout=30))


def _prepare(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("CREATE TABLE IF NOT EXISTS version (text TEXT)")
    connection.execute("CREATE TABLE IF NOT EXISTS compared (key TEXT PRIMARY KEY, content TEXT)")
    if connection.execute("SELECT text FROM version").fetchall() != [(MEASURE_VERSION,)]:
        connection.executescript(
            "DROP TABLE IF EXISTS measured; DELETE FROM version;"
            "CREATE TABLE measured (file TEXT PRIMARY KEY, size_bytes INTEGER, mtime_ns INTEGER, content BLOB);"
        )
        connection.execute("INSERT INTO version VALUES (?)", (MEASURE_VERSION,))
    connection.commit()
    return connection


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
