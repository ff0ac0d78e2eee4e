"""Keeps the SuperLink's keys equal to the store's: at once if it is reachable, otherwise as soon as it is again.

A SuperLink is empty after a restart. A run detects that itself; between runs this module checks every few seconds.
"""

import logging
import threading
from collections.abc import Callable, Mapping

from embryofl_server.members.store import ClinicStore

log = logging.getLogger("embryofl.keys")

RETRY_S, CHECK_S = 1.0, 5.0


class RegistryUnreachable(Exception):
    """The key registry cannot be reached, or rejected a call."""


class KeySync:
    """Sends the store's keys to the registry, and retries in a thread.

    Parameters
    ----------
    register : callable
        Given a function that returns the keys, clinic to OpenSSH line: makes those of the SuperLink equal to them. Raises
        `RegistryUnreachable`.
    store : ClinicStore
    idle : callable
        Whether no run is under way.
    """

    def __init__(
        self,
        register: Callable[[Callable[[], Mapping[str, str]]], object],
        store: ClinicStore,
        idle: Callable[[], bool],
    ) -> None:
        self._register, self._store, self._idle = register, store, idle
        self._due, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._sync, name="key-sync", daemon=True)

    def start(self) -> None:
        """Start the thread, which first sends the keys that changed while the hub was down."""
        self._due.set()
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        self._due.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def admit(self) -> bool:
        """Send all keys now; whether they were accepted. If not, the thread retries until they are."""
        try:
            self._register(self._store.keys)
        except RegistryUnreachable as exc:
            if not self._due.is_set():
                log.info("the SuperLink is unreachable (%s): it receives the clinics' keys when it is back", exc)
            self._due.set()
            return False
        return True

    def _sync(self) -> None:
        while not self._closing.is_set():
            due = self._due.wait(CHECK_S)
            if self._closing.is_set():
                return
            self._due.clear()
            try:
                done = not (due or self._idle()) or self.admit()
            except Exception:  # a passing fault must not keep clinics out for ever
                log.exception("the clinics' keys could not be sent to the SuperLink; trying again")
                self._due.set()
                done = False
            if not done:
                self._closing.wait(RETRY_S)
