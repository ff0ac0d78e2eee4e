"""Keeps the SuperLink's list of keys equal to the store's: at once where it can, else as soon as the SuperLink is back.

A SuperLink that restarts comes back empty. A run notices by itself; while there is none, this looks every few seconds.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from embryofl_server.members.store import ClinicStore

log = logging.getLogger("embryofl.keys")

AGAIN_S, LOOK_S = 1.0, 5.0


class RegistryUnreachable(Exception):
    """The register of keys cannot be reached, or did not accept a call."""


class KeyRegistry(Protocol):
    """Where the keys of the clinics are that may connect (the SuperLink)."""

    def admit(self, keys: Callable[[], Mapping[str, str]]) -> object:
        """Make the registered keys equal to `keys()`: clinic to OpenSSH line. Raises `RegistryUnreachable`."""


class KeySync:
    """A thread that tells the SuperLink what it does not know yet.

    Parameters
    ----------
    registry : KeyRegistry
    store : ClinicStore
    idle : callable
        Whether no run is under way.
    """

    def __init__(self, registry: KeyRegistry, store: ClinicStore, idle: Callable[[], bool]) -> None:
        self._registry, self._store, self._idle = registry, store, idle
        self._due, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep_trying, name="key-sync", daemon=True)

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
            self._registry.admit(self._store.keys)
        except RegistryUnreachable as exc:
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
            except Exception:  # one bad moment must not keep clinics out for good
                log.exception("the SuperLink could not be told the clinics' keys; tried again")
                self._due.set()
                done = False
            if not done:
                self._closing.wait(AGAIN_S)
