"""Keeps the SuperLink's list of keys equal to the store's: at once where it can, else as soon as the SuperLink is back.

A SuperLink that restarts comes back empty. A run notices by itself; while there is none, this looks every few seconds.
"""

import logging
import threading
from collections.abc import Callable

from embryofl_server.federation.superlink import LinkLost, SuperLink
from embryofl_server.members.store import ClinicStore

log = logging.getLogger("embryofl.door")

AGAIN_S, LOOK_S = 1.0, 5.0


class KeySync:
    """A thread that tells the SuperLink what it does not know yet.

    Parameters
    ----------
    link : SuperLink
    store : ClinicStore
    idle : callable
        Whether no run is under way.
    """

    def __init__(self, link: SuperLink, store: ClinicStore, idle: Callable[[], bool]) -> None:
        self._link, self._store, self._idle = link, store, idle
        self._due, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep_trying, name="door", daemon=True)

    def start(self) -> None:
        """Begin; keys that changed while no hub was there are told the SuperLink too."""
        self._due.set()
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        self._due.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def admit(self) -> bool:
        """Tell the SuperLink all keys now; whether it took them. If not, it is tried until it does."""
        try:
            self._link.admit(self._store.keys)
        except LinkLost as exc:
            if not self._due.is_set():
                log.info("the SuperLink is away (%s): it is told the clinics' keys as soon as it is back", exc)
            self._due.set()
            return False
        return True

    def _keep_trying(self) -> None:
        while not self._closing.is_set():
            due = self._due.wait(LOOK_S)
            if self._closing.is_set():
                return
            self._due.clear()
            try:
                done = not (due or self._idle()) or self.admit()
            except Exception:  # the door must not stay shut for good because of one bad moment
                log.exception("the SuperLink could not be told the clinics' keys; tried again")
                self._due.set()
                done = False
            if not done:
                self._closing.wait(AGAIN_S)
