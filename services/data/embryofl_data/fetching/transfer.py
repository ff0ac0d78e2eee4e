"""Download a file: whole and checked, or kept in part so that the next attempt goes on where this one stopped."""

import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from embryofl.errors import UserError

from .publishers import Remote

ATTEMPTS = 5
PAUSE_S = 2.0

Told = Callable[[int], object]


def download(client: httpx.Client, remote: Remote, target: Path, told: Told, pause_s: float = PAUSE_S) -> None:
    """Fetch a file to `target`; what came of it so far lies beside it as `NAME.part`.

    Parameters
    ----------
    client : httpx.Client
        Follows redirects.
    remote : Remote
        Size and checksum are checked where they are known.
    target : Path
        Takes its name when the whole file is there and right.
    told : callable
        Called with the number of bytes since the last call.
    pause_s : float
        Before another attempt after the connection broke; it doubles each time.

    Raises
    ------
    httpx.HTTPError
        When it cannot be reached after several attempts that brought nothing, or is refused.
    UserError
        When what came is not what was published, or the disk is full.
    """
    part = target.with_name(target.name + ".part")
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _go_on(client, remote, part, told)
            break
        except httpx.TransportError:
            got = part.stat().st_size if part.exists() else 0
            failures = 0 if got > before else failures + 1
            if failures >= ATTEMPTS:
                raise
            time.sleep(pause_s * 2**failures)
    check(part, remote)
    part.replace(target)
    _tag_of(part).unlink(missing_ok=True)


def _tag_of(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _go_on(client: httpx.Client, remote: Remote, part: Path, told: Told) -> None:
    """One request for what is missing."""
    have = part.stat().st_size if part.exists() else 0
    if 0 <= remote.size <= have:
        return
    _check_room(part, remote.size - have)
    headers = {**remote.headers, "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if _tag_of(part).exists():  # another version of the file comes whole
            headers["If-Range"] = _tag_of(part).read_text()
    with client.stream("GET", remote.url, headers=headers) as answer:
        if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and remote.size < 0:
            return  # there is no more
        answer.raise_for_status()
        goes_on = answer.status_code == httpx.codes.PARTIAL_CONTENT
        if goes_on and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise UserError(f"{remote.name}: the publisher sent another part than was asked for. Start again later.")
        if tag := answer.headers.get("ETag", ""):
            _tag_of(part).write_text(tag)
        try:
            with part.open("ab" if goes_on else "wb") as file:
                for block in answer.iter_bytes():
                    file.write(block)
                    told(len(block))
        except OSError as error:
            raise UserError(
                f"{part} cannot be written ({error.strerror}). Make room there and start again: what came so far is kept."
            ) from error


def _check_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise UserError(
            f"{part.name} needs {needed / 1e9:.1f} GB more, and {part.parent} has {free / 1e9:.1f} GB free. Make room, or "
            "name a folder on another disk."
        )


def check(path: Path, remote: Remote) -> None:
    """Compare a file with what was published.

    Raises
    ------
    UserError
        When it differs; the file is removed if it was fetched by us (`.part`), so that the next attempt starts anew.
    """
    size = path.stat().st_size
    wrong = "" if remote.size in (-1, size) else f"{size} bytes, published are {remote.size}"
    kind, _, published = remote.checksum.partition(":")
    if not wrong and published and kind in ("md5", "sha256", "sha512"):
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
        wrong = "" if found == published.lower() else f"{kind} {found}, published is {published}"
    if wrong:
        if path.suffix == ".part":
            path.unlink()
            _tag_of(path).unlink(missing_ok=True)
        raise UserError(
            f"{remote.name} is not what was published ({wrong}). Start again to fetch it anew"
            + ("." if path.suffix == ".part" else f", after removing {path}.")
        )
