"""Weights next to the messages: signed, expiring, clinic-bound URLs, and the uploads that arrive on them.

The gateway serves global models itself, from disk, after asking `SignedUrls.check`; uploads are streamed through the
server to disk, hashed on the way, and can never be larger than announced.
"""

import asyncio
import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

LEAST_RATE = 4096.0  # bytes per second, on average after `STALL_S`: a trickle does not hold its connection for ever
STALL_S = 60.0  # an upload that stalls this long is dropped; the clinic may start it again
MODEL_PREFIX, UPDATE_PREFIX = "/v1/model/", "/v1/update/"


class BadUrl(Exception):
    """A URL that this hub did not sign, or that was changed, has expired, or is a suspended clinic's."""


class SignedUrls:
    """HMAC-SHA256 over method, path, clinic and expiry.

    Parameters
    ----------
    key : bytes
        The hub's URL key.
    admitted : callable
        Whether a clinic of that name may still use its URLs.
    """

    def __init__(self, key: bytes, admitted: Callable[[str], bool]) -> None:
        self._key, self._admitted = key, admitted

    def _digest(self, method: str, path: str, clinic: str, expires: str) -> str:
        return hmac.new(self._key, "\n".join((method, path, clinic, expires)).encode(), hashlib.sha256).hexdigest()

    def sign(self, method: str, path: str, clinic: str, seconds: float) -> str:
        """A URL (path and query) that `clinic` may use for `seconds` from now."""
        expires = str(int(time.time() + seconds) + 1)
        signature = self._digest(method, path, clinic, expires)
        return f"{path}?{urlencode({'clinic': clinic, 'expires': expires, 'signature': signature})}"

    def check(self, method: str, url: str) -> str:
        """The path of a valid URL.

        Raises
        ------
        BadUrl
            With a reason for the log.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            raise BadUrl("form") from None
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        clinic, expires, signature = (query.get(k, "") for k in ("clinic", "expires", "signature"))
        expected = self._digest(method, parts.path, clinic, expires)
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            raise BadUrl("signature")
        if int(expires) < time.time():
            raise BadUrl("expired")
        if not self._admitted(clinic):
            raise BadUrl("clinic")
        return parts.path


@dataclass
class ExpectedUpload:
    """An upload that is expected: exactly `size` bytes into `path`. `sha256` is set when it is complete."""

    path: Path
    size: int
    sha256: str = ""
    incoming: Path | None = None  # the newest attempt: it replaces earlier ones


class UploadRefused(Exception):
    """An upload that is rejected; `status` is the HTTP status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Uploads:
    """Updates on their way in. Only expected paths are accepted, one upload each, and only while their round is open."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.iterdir():  # of rounds that ended with an earlier process
            leftover.unlink()
        self._expected: dict[str, ExpectedUpload] = {}
        self._lock = threading.Lock()  # between the server's event loop and the round loop
        self.arrived = threading.Event()  # set whenever an upload is complete, so that the round loop may poll slowly

    def expect(self, run: str, round_: int, clinic: str, size: int) -> str:
        """Expect an upload; returns its path (unguessable, for one use)."""
        name = f"{run}-{round_:04d}-{clinic}-{secrets.token_hex(16)}"
        self._expected[name] = ExpectedUpload(self._folder / name, size)
        return UPDATE_PREFIX + name

    async def receive(self, path: str, length: int | None, body: AsyncIterator[bytes]) -> None:
        """Stream a body to disk. A broken upload leaves nothing behind and may be sent again.

        Raises
        ------
        UploadRefused
        """
        name = path.removeprefix(UPDATE_PREFIX)
        upload = self._expected.get(name)
        if upload is None:
            raise UploadRefused(410, "The round this update belongs to is over.")
        if length != upload.size:
            raise UploadRefused(413, f"The update has {length} bytes, expected exactly {upload.size}.")
        part = upload.incoming = upload.path.with_suffix("." + secrets.token_hex(4))
        digest, received = hashlib.sha256(), 0
        try:
            loop = asyncio.get_running_loop()
            begun = loop.time()
            async with asyncio.timeout(STALL_S) as stall:
                with part.open("wb") as file:
                    async for chunk in body:
                        received += len(chunk)
                        stall.reschedule(min(loop.time(), begun + received / LEAST_RATE) + STALL_S)
                        if received > upload.size:
                            raise UploadRefused(413, f"The update has more than the {upload.size} bytes expected.")
                        if self._expected.get(name) is not upload:
                            raise UploadRefused(410, "The round this update belongs to is over.")
                        if upload.incoming != part:
                            raise UploadRefused(503, "A newer upload has replaced this one.")
                        digest.update(chunk)
                        file.write(chunk)
            if received != upload.size:
                raise UploadRefused(400, f"The update ended after {received} of {upload.size} bytes.")
            with self._lock:  # an upload that ends late must not replace one that has been checked, nor stay behind
                if self._expected.get(name) is not upload:
                    raise UploadRefused(410, "The round this update belongs to is over.")
                part.rename(upload.path)
                upload.sha256 = digest.hexdigest()
            self.arrived.set()
        except TimeoutError:  # a machine that loses its power does not close its connections
            raise UploadRefused(408, f"Too little was received for {STALL_S:.0f} s.") from None
        finally:
            part.unlink(missing_ok=True)

    def complete(self, path: str) -> bool:
        """Whether the upload at `path` is complete and not collected yet."""
        upload = self._expected.get(path.removeprefix(UPDATE_PREFIX))
        return upload is not None and bool(upload.sha256)

    def collect(self, path: str) -> ExpectedUpload | None:
        """The complete upload at `path`, once; None if it is not complete."""
        with self._lock:
            upload = self._expected.pop(path.removeprefix(UPDATE_PREFIX), None)
        return upload if upload and upload.sha256 else None

    def forget(self, paths: list[str]) -> None:
        """Close a round: its paths are no longer accepted and leftovers are deleted."""
        for path in paths:
            with self._lock:
                upload = self._expected.pop(path.removeprefix(UPDATE_PREFIX), None)
            if upload:
                upload.path.unlink(missing_ok=True)
