"""Weights as files next to the messages: download the global model, upload the update, retry if interrupted."""

import contextlib
import hashlib
import logging
import threading
from collections.abc import Iterator
from http.client import HTTPException

import numpy as np

from embryofl.messages import UploadReceipt
from embryofl.schema import Download
from embryofl_clinic.joining.clock import HubClock
from embryofl_clinic.joining.route import Route
from embryofl_clinic.link.fleet_link import Stopped
from embryofl_clinic.workload.transfers import TransferDamaged, TransferRefused

log = logging.getLogger("embryofl.transfer")

CHUNK = 1 << 20
TIMEOUT_S = 60  # without a byte
RETRY_FIRST_S, RETRY_MOST_S = 0.2, 5.0
_BROKEN = (OSError, HTTPException)


class HttpTransfers:
    """GET and PUT on the gateway, each on its own connection: training happens between two of them.

    The standard library's client moves bytes between socket and array without copies: httpx took twice the processor time
    for a model of 43 MiB.

    Parameters
    ----------
    route : Route
        To the gateway.
    stop : threading.Event
        Ends every wait with `Stopped`.
    clock : HubClock, optional
        For deadlines; default: this machine's clock.
    """

    def __init__(self, route: Route, stop: threading.Event, clock: HubClock | None = None) -> None:
        self._route, self._stop, self._clock = route, stop, clock or HubClock()

    def download(self, wanted: Download, deadline: float) -> np.ndarray:
        """Fetch a file: uint8 `(wanted.size,)`. An interrupted download continues where it stopped.

        Raises
        ------
        TransferRefused, TransferDamaged, Stopped
        """
        data, have = np.empty(wanted.size, np.uint8), 0
        for _ in self._tries(deadline):
            headers = {"Range": f"bytes={have}-"} if have else {}
            try:
                with contextlib.closing(self._route.connect(TIMEOUT_S)) as connection:
                    connection.request("GET", wanted.url, headers={**headers, "Accept-Encoding": "identity"})
                    response = connection.getresponse()
                    if response.status >= 500:
                        continue
                    if response.status not in (200, 206):
                        raise TransferRefused(f"http_{response.status}")
                    have = have if response.status == 206 else 0
                    while got := response.readinto(data.data[have : have + CHUNK]):  # keep what has arrived
                        have += got
                    if have == wanted.size and (response.length or response.read(1)):
                        raise TransferDamaged("too_long")
            except _BROKEN as exc:
                log.info("download interrupted at %d of %d bytes (%s)", have, wanted.size, type(exc).__name__)
                continue
            if have == wanted.size:
                if hashlib.sha256(data.data).hexdigest() != wanted.sha256:
                    raise TransferDamaged("wrong_digest")
                return data
        raise TransferRefused("deadline")

    def upload(self, url: str, data: np.ndarray, deadline: float) -> UploadReceipt:
        """Send a packed update, completely or not at all.

        Raises
        ------
        TransferRefused, Stopped
        """
        for _ in self._tries(deadline):
            try:
                status, digest = self._put(url, data.data)
            except _BROKEN as exc:
                log.info("upload interrupted (%s)", type(exc).__name__)
                continue
            if 200 <= status < 300:
                return UploadReceipt(size=len(data), sha256=digest)
            if status < 500:
                raise TransferRefused(f"http_{status}")
        raise TransferRefused("deadline")

    def _put(self, url: str, view: memoryview) -> tuple[int, str]:
        """Send once; returns the HTTP status and the SHA-256 of what was sent."""
        digest = hashlib.sha256()
        with contextlib.closing(self._route.connect(TIMEOUT_S)) as connection:
            connection.putrequest("PUT", url)
            connection.putheader("Content-Length", str(len(view)))
            connection.endheaders()
            try:
                for at in range(0, len(view), CHUNK):
                    part = view[at : at + CHUNK]
                    connection.send(part)
                    digest.update(part)
            except OSError:  # the hub may have rejected it before the end, and closed
                return connection.getresponse().status, ""
            return connection.getresponse().status, digest.hexdigest()

    def _tries(self, deadline: float) -> Iterator[int]:
        delay, number = RETRY_FIRST_S, 0
        while True:
            yield number
            number += 1
            if self._clock.now() > deadline:
                return
            if self._stop.wait(delay):
                raise Stopped
            delay = min(delay * 1.6, RETRY_MOST_S)
