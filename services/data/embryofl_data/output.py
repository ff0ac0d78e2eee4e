"""Output folders of jobs: outside the source, new or empty, and complete only once they are sealed.

A job writes into a staging folder inside its output folder. Its content is moved at the end and the seal, a JSON file,
comes last: a folder without a seal is not complete, and the next job removes what an interrupted one left.
"""

import csv
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embryofl.errors import UserError
from embryofl.files import write_atomic
from embryofl_data.reading.contract import COLUMNS

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True)
class OutputFolder:
    """A folder that one job fills.

    Attributes
    ----------
    folder : Path
        Created when missing.
    job : str
        What made the content, for messages: `division`, `import`.
    seal, staging : str
        Names of the JSON file that comes last, and of the folder that holds everything until it is complete.
    names : tuple of str
        What the job writes in addition to the seal.
    """

    folder: Path
    job: str
    seal: str
    staging: str
    names: tuple[str, ...]

    def is_done(self, settings: dict[str, Any] | None = None) -> bool:
        """Whether the folder has a seal with these settings; what an interrupted job left is removed.

        Raises
        ------
        UserError
            When the folder is a file or holds anything else. Nothing is changed then.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(
                "D6", f"{self.folder} is a file. Expected a new or empty folder. Nothing was written. Name another."
            )
        sealed = self._read_seal()
        as_wanted = sealed and settings and all(sealed.get(key) == value for key, value in settings.items())
        if as_wanted and all((self.folder / name).exists() for name in self.names):
            return True
        if sealed is None and (self.folder / self.staging).is_dir():
            self._clear()
        present = sorted(path.name for path in self.folder.glob("*") if path.name != "lost+found")
        if present:
            content = f"another {self.job}" if sealed and not as_wanted else ", ".join(present[:5])
            same = f", or the same {self.job}" if settings else ""
            raise UserError(
                "D6",
                f"The output folder {self.folder} holds {content}. Expected an empty folder{same}. Nothing was written. "
                "Name another folder, or remove the content.",
            )
        return False

    def _read_seal(self) -> dict[str, Any] | None:
        try:
            content = json.loads((self.folder / self.seal).read_text())
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def fill(self, write: Callable[[Path], dict[str, Any]], needed_bytes: int = 0) -> None:
        """Let `write` fill the staging folder, move its content, and write what it returned as the seal.

        Raises
        ------
        UserError
            When the disk is full or may not be written. After any error nothing of the job is left.
        """
        staging = self.folder / self.staging
        try:
            staging.mkdir(parents=True)
            seal = write(staging)
            for name in self.names:
                (staging / name).rename(self.folder / name)
            write_atomic(self.folder / self.seal, (json.dumps(seal, indent=2) + "\n").encode("utf-8", "replace"))
        except BaseException as error:
            self._clear()
            if isinstance(error, OSError):
                raise self._not_written(error, needed_bytes) from error
            raise
        staging.rmdir()

    def _clear(self) -> None:
        """Remove what an interrupted job left; the staging folder goes last, as it marks the rest as the job's."""
        for path in (*(self.folder / name for name in self.names), *self.folder.glob(f".{self.seal}.*")):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        shutil.rmtree(self.folder / self.staging, ignore_errors=True)

    def _not_written(self, error: OSError, needed_bytes: int) -> UserError:
        if error.errno in NO_SPACE:
            size = f": about {needed_bytes / 1e6:.0f} MB are needed" if needed_bytes else ""
            return UserError(
                "S4",
                f"No disk space left in the output folder {self.folder}{size}. Nothing was written. Free some space or "
                "name a folder on another disk.",
            )
        return UserError(
            "D6",
            f"The output folder {self.folder} cannot be written ({error.strerror or error}). Expected a folder that the "
            "user who runs this may write to. Change its owner or name another.",
        )


def keep_apart(source: Path, out: Path) -> None:
    """Raise `UserError` for an output folder inside the source, or around it."""
    inner, outer = out.resolve(), source.resolve()
    if inner.is_relative_to(outer) or (outer.is_dir() and outer.is_relative_to(inner)):
        raise UserError(
            "D6",
            f"The output folder {out} and the source {source} contain one another. The source is never changed. Name an "
            "output folder elsewhere.",
        )


def write_labels(path: Path, rows: Iterable[Iterable[str]], columns: Sequence[str] = COLUMNS) -> None:
    """Write a `labels.csv` durably, with rows in the order of `columns`."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as handle:
        csv.writer(handle, lineterminator="\n").writerows([columns, *rows])
        handle.flush()
        os.fsync(handle.fileno())
