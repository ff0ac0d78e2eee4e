"""Earlier measurements on disk, so that a second check only opens what changed.

One SQLite file for each data folder: file, size, modification time and measurements. A file counts as unchanged while
size and modification time are. A new version of the measuring rules empties the store, and a damaged one is rebuilt. It
holds small features and file names of the clinic's images and stays in the clinic's own folder.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embryofl.errors import UserError
from embryofl_data.reading.scan import stamp_of
from embryofl_data.report.measure import MEASURE_VERSION, Measured
from embryofl_data.report.prints import SIDE

SCHEMA = """
DROP TABLE IF EXISTS version; DROP TABLE IF EXISTS measured; DROP TABLE IF EXISTS compared;
CREATE TABLE version (text TEXT);
CREATE TABLE measured (file TEXT PRIMARY KEY, size_bytes INTEGER, mtime_ns INTEGER, content TEXT, print BLOB);
CREATE TABLE compared (key TEXT PRIMARY KEY, content TEXT);
"""


class MeasurementStore:
    """Measurements by file, in a connection made by `open_store`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def fresh(self, root: Path, files: Sequence[str]) -> set[str]:
        """Those of `files` that have the size and modification time at which they were measured."""
        rows = self._connection.execute("SELECT file, size_bytes, mtime_ns FROM measured")
        stamps = {file: (size, mtime) for file, size, mtime in rows}
        return {file for file in files if file in stamps and stamps[file] == stamp_of(root / file)}

    def get(self, file: str) -> Measured:
        """The measurement of a file that is `fresh`, without its print."""
        (content,) = self._connection.execute("SELECT content FROM measured WHERE file = ?", (file,)).fetchone()
        return Measured.model_validate_json(content)

    def print_of(self, file: str) -> npt.NDArray[np.int8]:
        """The print of a file that is `fresh` and usable, int8 (SIDE, SIDE)."""
        (blob,) = self._connection.execute("SELECT print FROM measured WHERE file = ?", (file,)).fetchone()
        return np.frombuffer(blob, np.int8).reshape(SIDE, SIDE)

    def put(self, measured: Measured) -> None:
        """Keep a measurement. A file that could not be opened (no time known) is tried again the next time."""
        info = measured.info
        row = (info.file, info.size_bytes, info.mtime_ns, measured.model_dump_json(), measured.print_)
        self._connection.execute("INSERT OR REPLACE INTO measured VALUES (?, ?, ?, ?, ?)", row)

    def forget_others(self, files: Sequence[str]) -> None:
        """Drop the measurements of files that no longer exist."""
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


@contextmanager
def open_store(root: Path, cache_dir: Path | None) -> Iterator[MeasurementStore]:
    """Open the store of a data folder below `cache_dir`; without one it is temporary.

    Raises
    ------
    UserError
        When the folder cannot be written.
    """
    try:
        connection = _connect(root, cache_dir)
    except (OSError, sqlite3.OperationalError) as error:
        raise _not_written(cache_dir, error) from error
    with closing(connection):
        try:
            yield MeasurementStore(connection)
        except sqlite3.OperationalError as error:
            raise _not_written(cache_dir, error) from error


def _not_written(cache_dir: Path | None, error: Exception) -> UserError:
    return UserError(
        "D6",
        f"The cache folder {cache_dir} cannot be written ({error}). Expected a folder of its own with free space that the "
        "user who runs this may write to: change its owner, or name another with --cache.",
    )


def _connect(root: Path, cache_dir: Path | None) -> sqlite3.Connection:
    if cache_dir is None:
        return _prepared(sqlite3.connect("", isolation_level=None))
    path = cache_dir / f"report-{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:12]}.sqlite"
    cache_dir.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)  # every statement is committed
    try:
        return _prepared(connection)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:  # damaged: it only holds what can be measured again
        connection.close()
        path.unlink(missing_ok=True)
        return _prepared(sqlite3.connect(path, timeout=30, isolation_level=None))


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("CREATE TABLE IF NOT EXISTS version (text TEXT)")
    if connection.execute("SELECT text FROM version").fetchall() != [(MEASURE_VERSION,)]:
        connection.executescript(SCHEMA)
        connection.execute("INSERT INTO version VALUES (?)", (MEASURE_VERSION,))
    return connection
