"""Download a file: complete and checked, or kept in part so that the next attempt continues."""

import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from embryofl.errors import UserError
from embryofl_data.fetching.publishers import Remote

ATTEMPTS = 5
PAUSE_S = 2.0

OnBytes = Callable[[int], object]


def download(client: httpx.Client, remote: Remote, target: Path, on_bytes: OnBytes, pause_s: float = PAUSE_S) -> None:
    """Fetch a file to `target`; until it is complete and checked, it is called `NAME.part`.

    Parameters
    ----------
    client : httpx.Client
        Follows redirects.
    on_bytes : callable
        Called with the number of bytes since the last call.
    pause_s : float
        Before the next attempt after the connection broke; it doubles each time.

    Raises
    ------
    httpx.HTTPError
        When several attempts in a row brought nothing, or the request is rejected.
    UserError
        When the file is not as published, or the disk is full.
    """
    part = target.with_name(target.name + ".part")
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _continue(client, remote, part, on_bytes)
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


def _continue(client: httpx.Client, remote: Remote, part: Path, on_bytes: OnBytes) -> None:
    """One request for what is missing."""
    have = part.stat().st_size if part.exists() else 0
    if 0 <= remote.size <= have:
        return
    _check_room(part, remote.size - have)
    headers = {**remote.headers, "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if _tag_of(part).exists():  # another version of the file is sent from its start
            headers["If-Range"] = _tag_of(part).read_text()
    with client.stream("GET", remote.url, headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and remote.size < 0:
            return  # the file is complete
        response.raise_for_status()
        continues = response.status_code == httpx.codes.PARTIAL_CONTENT
        if continues and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise UserError("D7", f"{remote.name}: the publisher sent another part than requested. Start again later.")
        if tag := response.headers.get("ETag", ""):
            _tag_of(part).write_text(tag)
        try:
            with part.open("ab" if continues else "wb") as file:
                for block in response.iter_bytes():
                    file.write(block)
                    on_bytes(len(block))
        except OSError as error:
            raise UserError(
                "S4",
                f"{part} cannot be written ({error.strerror}). Free some space and start again; the download continues.",
            ) from error


def _check_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise UserError(
            "S4",
            f"{part.name} needs {needed / 1e9:.1f} GB more, and {part.parent} has {free / 1e9:.1f} GB free. Free some "
            "space, or name a folder on another disk.",
        )


def check(path: Path, remote: Remote) -> None:
    """Compare a file with what was published.

    Raises
    ------
    UserError
        When it differs. A download (`.part`) is removed, so that the next attempt starts again.
    """
    size = path.stat().st_size
    wrong = "" if remote.size in (-1, size) else f"{size} bytes instead of {remote.size}"
    kind, _, published = remote.checksum.partition(":")
    if not wrong and published and kind in ("md5", "sha256", "sha512"):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
        wrong = "" if digest == published.lower() else f"{kind} {digest} instead of {published}"
    if wrong:
        if path.suffix == ".part":
            path.unlink()
            _tag_of(path).unlink(missing_ok=True)
        raise UserError(
            "D7",
            f"{remote.name} is not as published ({wrong}). Start again to fetch it again"
            + ("." if path.suffix == ".part" else f", after removing {path}."),
        )
