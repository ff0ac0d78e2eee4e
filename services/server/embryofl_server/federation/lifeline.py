"""A run's hold on the SuperLink: who is connected, and getting the SuperLink back when it is lost. Ends when told to."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from embryofl.errors import UserError
from embryofl_server.federation.blobs import SignedUrls, Uploads
from embryofl_server.federation.superlink import LinkLost, Node, SuperLink
from embryofl_server.members.store import ClinicStore
from embryofl_server.runs.log import Run
from embryofl_server.runs.progress import Progress

log = logging.getLogger("embryofl.rounds")

RETRY_FIRST_S, RETRY_MOST_S, RETRY_GROWTH = 0.2, 5.0, 1.6


class Halted(Exception):
    """The run was asked to stop or pause, or the hub is going down."""


class RunFailed(UserError):
    """The run cannot go on; the text says why and what to do."""


@dataclass
class RunContext:
    """What a run works with. `suspend` takes a clinic out: its name and the reason in words. `idle_at` tells when a clinic
    last said that it has nothing to do (Unix time, 0 = never)."""

    link: SuperLink
    store: ClinicStore
    urls: SignedUrls
    uploads: Uploads
    progress: Progress
    audit: Callable[..., None]
    suspend: Callable[[str, str], object]
    idle_at: Callable[[str], float]


class SuperLinkSession:
    """One run's connection.

    Parameters
    ----------
    hub : RunContext
    run : Run
    halt : threading.Event
        Once set, every wait here ends with `Halted`.

    Attributes
    ----------
    losses : int
        How often the SuperLink came back. What was asked before has to be asked again.
    """

    def __init__(self, hub: RunContext, run: Run, halt: threading.Event) -> None:
        self._hub, self._run, self._halt = hub, run, halt
        self.losses = 0

    def open(self) -> None:
        """Begin: the SuperLink learns all keys and gives us a run of its own."""
        self._bring_back()

    def close(self) -> None:
        """End the SuperLink's run."""
        self._hub.link.close()

    def recover(self, reason: str) -> None:
        """Bring the SuperLink back, however long it takes."""
        log.warning("the SuperLink is lost (%s)", reason)
        self._run.event("link_lost", reason=reason)
        since = time.time()
        added = self._bring_back()
        self.losses += 1
        self._run.event("link_back", seconds=round(time.time() - since, 1), enrolled_again=added)

    def _bring_back(self) -> list[str]:
        delay, since = RETRY_FIRST_S, time.time()
        while True:
            try:
                return self._hub.link.recover(self._hub.store.keys)
            except LinkLost as exc:
                why = f"the SuperLink is away ({exc})"
                self._hub.progress.wait([], since, 0, "it is tried again for ever", why)
                self.pause(delay)
                delay = min(delay * RETRY_GROWTH, RETRY_MOST_S)

    def nodes(self) -> dict[str, Node]:
        """The clinics that have connected, by name."""
        while True:
            try:
                return self._hub.link.nodes()
            except LinkLost as exc:
                self.recover(str(exc))

    def pause(self, seconds: float, wake: threading.Event | None = None) -> None:
        """Wait, or until `wake` is set.

        Raises
        ------
        Halted
        """
        if not self._halt.is_set():
            (wake or self._halt).wait(seconds)
        if self._halt.is_set():
            raise Halted
