"""Weights as files beside the messages: fetch the global model, send the update. Broken transfers go on or start anew."""

import hashlib
import logging
import threading
from collections.abc import Iterator

import httpx
import numpy as np

from embryofl.messages import Download, Update
from embryofl_clinic.clock import HubClock
from embryofl_clinic.fleet_link import Stopped
from embryofl_clinic.join import tls_context

log = logging.getLogger("embryofl.transfer")

CHUNK = 1 << 20
RETRY_FIRST_S, RETRY_MOST_S = 0.2, 5.0


class TransferRefused(Exception):
    """The hub no longer takes or gives this file: the round is over or the clinic is out."""


class TransferDamaged(Exception):
    """The bytes are not those the hub announced."""


class Transfers:
    """GET and PUT on the gateway.

    Parameters
    ----------
    hub : str
        host:port of the gateway.
    ca : str
        The hub's CA certificate, PEM.
    stop : threading.Event
        Ends every wait with `Stopped`.
    clock : HubClock, optional
        Deadlines are in the hub's time; this machine's clock when left out.
    """

    def __init__(self, hub: str, ca: str, stop: threading.Event, clock: HubClock | None = None) -> None:
        self._client = httpx.Client(
            base_url=f"https://{hub}", verify=tls_context(ca), timeout=60, trust_env=False, follow_redirects=False
        )
        self._stop, self._clock = stop, clock or HubClock()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def download(self, wanted: Download, deadline: float) -> np.ndarray:
        """Fetch a file: uint8 `(wanted.size,)`. A broken download goes on where it stopped.

        Raises
        ------
        TransferRefused, TransferDamaged, Stopped
        """
        data, have = np.empty(wanted.size, np.uint8), 0
        for _ in self._tries(deadline):
            try:
                headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"} if have else {}
                with self._client.stream("GET", wanted.url, headers=headers) as response:
                    if response.status_code >= 500:
                        continue
                    if response.status_code not in (200, 206):
                        raise TransferRefused(f"http_{response.status_code}")
                    have = have if response.status_code == 206 else 0
                    for chunk in response.iter_raw():  # as they come: what has arrived is kept
                        if have + len(chunk) > wanted.size:
                            raise TransferDamaged("too_long")
                        data[have : have + len(chunk)] = np.frombuffer(chunk, np.uint8)
                        have += len(chunk)
            except httpx.TransportError as exc:
                log.info("download broken off at %d of %d bytes (%s)", have, wanted.size, type(exc).__name__)
                continue
            if have == wanted.size:
                if hashlib.sha256(data.data).hexdigest() != wanted.sha256:
                    raise TransferDamaged("wrong_digest")
                return data
        raise TransferRefused("deadline")

    def upload(self, url: str, data: np.ndarray, deadline: float) -> Update:
        """Send a packed update, whole or not at all.

        Raises
        ------
        TransferRefused, Stopped
        """
        view = data.data
        for _ in self._tries(deadline):
            try:
                response = self._client.put(url, content=_chunks(view), headers={"Content-Length": str(len(view))})
            except httpx.TransportError as exc:
                log.info("upload broken off (%s)", type(exc).__name__)
                continue
            if response.is_success:
                return Update(size=len(view), sha256=hashlib.sha256(view).hexdigest())
            if response.status_code < 500:
                raise TransferRefused(f"http_{response.status_code}")
        raise TransferRefused("deadline")

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


def _chunks(view: memoryview) -> Iterator[bytes]:
    for at in range(0, len(view), CHUNK):
        yield bytes(view[at : at + CHUNK])
