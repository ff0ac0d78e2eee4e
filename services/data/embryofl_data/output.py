"""Output folders of jobs: outside the source, new or empty, with a `labels.csv` in the data contract."""

import csv
import errno
from collections.abc import Iterable
from pathlib import Path

from embryofl.errors import UserError
from embryofl_data.reading.contract import COLUMNS

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def keep_apart(source: Path, out: Path) -> None:
    """Raise `UserError` for an output folder inside the source, or around it."""
    inner, outer = out.resolve(), source.resolve()
    if inner.is_relative_to(outer) or (outer.is_dir() and outer.is_relative_to(inner)):
        raise UserError(
            f"The output folder {out} and the source {source} contain one another. The source is never changed. Name an "
            "output folder elsewhere."
        )


def names_in(out: Path) -> list[str]:
    """What is in an output folder already, sorted; raises `UserError` where it is a file."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file. Expected a new or empty folder. Name another.")
    return sorted(path.name for path in out.iterdir()) if out.is_dir() else []


def write_labels(path: Path, rows: Iterable[Iterable[str]]) -> None:
    """Write a `labels.csv` with rows in the order of `COLUMNS`."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as handle:
        csv.writer(handle, lineterminator="\n").writerows([COLUMNS, *rows])


def not_writable(out: Path, error: OSError) -> UserError:
    """The error of an output folder that cannot be written."""
    return UserError(
        f"The output folder {out} cannot be written ({error.strerror or error}). Expected a folder on a disk with space "
        "that the user who runs this may write to. Change its owner or name another."
    )
