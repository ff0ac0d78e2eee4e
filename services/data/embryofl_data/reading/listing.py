"""The image files below a folder, and how a table's row names one of them. Nothing outside is ever opened."""

import os
import posixpath
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from embryofl.errors import DataError
from embryofl_data.reading.contract import IMAGE_SUFFIXES, UNREAD_SUFFIXES, Problem
from embryofl_data.reading.tables import Table, parse_table, read_table

MOST_DEPTH = 40
"""Nested folders: no export has as many, and a path has to fit into 4096 bytes."""


@dataclass
class Listing:
    """Image files below `root`.

    Attributes
    ----------
    root : Path
        The folder with symbolic links resolved.
    files : list of str
        Relative POSIX paths of regular image files, sorted, without symbolic links.
    spellings : dict
        Every spelling that a table may use (links inside the folder, Unicode NFC) to the file.
    escapes : set of str
        Links that lead out of the folder.
    tables : list of str
        Names of other files at the top, sorted.
    deeper : list of str
        Sub-folders that hold a `labels.csv` or `train.csv`: the wrong folder may have been named.
    problems : list of Problem
        Links that lead nowhere or outside, folders that cannot be opened, files that are not read.
    contents : dict
        Content of tables that are not files on disk (those in an archive), by name.
    """

    root: Path
    files: list[str] = field(default_factory=list)
    spellings: dict[str, str] = field(default_factory=dict)
    escapes: set[str] = field(default_factory=set)
    tables: list[str] = field(default_factory=list)
    deeper: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)

    def table(self, name: str, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> Table | None:
        """Read a table at the top of the folder, whatever the case of its name; None without one."""
        path = self.top_file(name)
        if path is None:
            return None
        if path.name in self.contents:
            return parse_table(self.contents[path.name], path.name, required, optional)
        return read_table(path, required, optional)

    def top_file(self, name: str) -> Path | None:
        """A table at the top of the folder by its name, whatever its case; never through a link that leads outside."""
        match = next((t for t in self.tables if t.lower() == name), None)
        return self.root / match if match else None


def list_images(root: Path) -> Listing:
    """List the image files below a folder, except hidden ones and `__MACOSX`.

    Raises
    ------
    DataError
        When the folder is missing, not a folder, or cannot be opened.
    """
    if not root.exists():
        raise DataError(
            "D1",
            f"There is no folder {root}. Expected a folder with images and a labels.csv. Check the path and, in a "
            "container, that the folder is mounted.",
        )
    if not root.is_dir():
        raise DataError("D1", f"{root} is a file. Expected a folder with images and a labels.csv. Name the folder.")
    listing = Listing(root.resolve())
    try:
        os.scandir(listing.root).close()
    except OSError as error:
        raise DataError(
            "D1",
            f"The folder {root} cannot be opened ({error.strerror}). Give the user who runs this (number {os.getuid()}) "
            "permission to read it and everything in it.",
        ) from error
    links: list[str] = []
    for name, kind, detail in walk(listing.root):
        suffix = posixpath.splitext(name)[1].lower()
        if kind == "link":
            links.append(name)
        elif kind != "file":
            listing.problems.append(Problem(name, kind, detail))
        elif is_image_name(name):
            listing.files.append(name)
        elif suffix in UNREAD_SUFFIXES:
            listing.problems.append(Problem(name, UNREAD_SUFFIXES[suffix], "files of this type are not read"))
        elif "/" not in name:
            listing.tables.append(name)
        elif posixpath.basename(name).lower() in ("labels.csv", "train.csv"):
            listing.deeper.append(posixpath.dirname(name))
    listing.files.sort()
    for name in listing.files:
        listing.spellings[name] = name
        listing.spellings.setdefault(unicodedata.normalize("NFC", name), name)
    for link in sorted(links):
        _follow(listing, link)
    listing.tables.sort()
    return listing


def walk(root: Path) -> Iterator[tuple[str, str, str]]:
    """Everything below a folder but hidden entries and `__MACOSX`: (path relative to it, kind, detail).

    The kind is `file`, `link` (links are not followed), or one of `PROBLEM_KINDS` for what cannot be read.
    """
    stack = [""]
    while stack:
        folder = stack.pop()
        try:
            entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except OSError as error:
            yield _utf8(folder), "unreadable", f"folder cannot be opened: {error.strerror}"
            continue
        for entry in entries:
            name = posixpath.join(folder, entry.name)
            if is_ignored(entry.name):
                continue
            if _utf8(name) != name:
                yield _utf8(name), "bad_name", "the file name is not in UTF-8: rename the file"
            elif entry.is_symlink():
                yield name, "link", ""
            elif entry.is_dir() and name.count("/") >= MOST_DEPTH:
                yield name, "too_deep", f"more than {MOST_DEPTH} folders down"
            elif entry.is_dir():
                stack.append(name)
            elif entry.is_file():
                yield name, "file", ""
            else:  # it would block its reader
                yield name, "special_file", "pipe, socket or device"


def is_ignored(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or added by macOS."""
    return name.startswith(".") or name == "__MACOSX"


def _utf8(name: str) -> str:
    return name.encode("utf-8", "replace").decode()


def _follow(listing: Listing, link: str) -> None:
    """Follow a symbolic link to an image file inside the folder; note one that leads outside or nowhere."""
    path = listing.root / link
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        if is_image_name(link):
            listing.problems.append(Problem(link, "missing", "symbolic link that leads nowhere"))
        return
    if not target.is_relative_to(listing.root):
        if is_image_name(link) or target.is_dir():
            listing.escapes.add(link)
            listing.problems.append(Problem(link, "outside_folder", "symbolic link that leads out of the folder"))
        return
    if target.is_file() and is_image_name(target.name):
        listing.spellings.setdefault(link, target.relative_to(listing.root).as_posix())
    elif target.is_file() and "/" not in link:
        listing.tables.append(link)


def is_image_name(name: str) -> bool:
    """Whether a file name ends like an image that is read."""
    return posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES


def locate(listing: Listing, written: str, below: tuple[str, ...], where: str) -> str | Problem:
    """Find the file that a table's row names: its path relative to the folder, or why it cannot be used.

    Parameters
    ----------
    written : str
        The path as written; backslashes count as separators.
    below : tuple of str
        Sub-folders in which the path is looked up, in this order; "" is the folder itself.
    where : str
        Table and row, for the problem's text.
    """
    text = written.strip().replace("\\", "/")
    if not text or "\0" in text:
        return Problem(written, "bad_row", f"{where}: names no image")
    if text.startswith("/") or re.match(r"[A-Za-z]:", text):
        return Problem(written, "outside_folder", f"{where}: absolute path; write it relative to the folder")
    text = posixpath.normpath(text)
    if text == ".." or text.startswith("../"):
        return Problem(written, "outside_folder", f"{where}: the path leads out of the folder")
    for prefix in below:
        candidate = posixpath.join(prefix, text)
        file = listing.spellings.get(candidate) or listing.spellings.get(unicodedata.normalize("NFC", candidate))
        if file:
            return file
    return _locate_on_disk(listing, written, text, below, where)


def _locate_on_disk(listing: Listing, written: str, text: str, below: tuple[str, ...], where: str) -> str | Problem:
    """Find a file that is not in the listing: through a linked folder, hidden, or of another type."""
    for prefix in below:
        try:
            target = (listing.root / prefix / text).resolve(strict=True)
            is_file = target.is_file()
        except (OSError, RuntimeError, ValueError):
            continue
        if not target.is_relative_to(listing.root):
            return Problem(written, "outside_folder", f"{where}: a symbolic link leads out of the folder")
        if is_file and is_image_name(target.name):
            return target.relative_to(listing.root).as_posix()
        if is_file:
            types = ", ".join(sorted(IMAGE_SUFFIXES))
            return Problem(written, "not_an_image", f"{where}: only files of the types {types} are read")
    return Problem(written, "missing", f"{where}: the folder has no such file")
