"""Keeps the keys of gateway and SuperLink equal to the store's. The SuperLink's: at once if it is reachable, otherwise as
soon as it is again.

A SuperLink is empty after a restart. A run detects that itself; between runs this module checks every few seconds.
"""

import functools
import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from embryofl.clinic_keys import gateway_digest
from embryofl_server.members.store import ClinicStore

log = logging.getLogger("embryofl.keys")

RETRY_S, CHECK_S = 1.0, 5.0


class RegistryUnreachable(Exception):
    """The key registry cannot be reached, or rejected a call."""


class GatewayKeys:
    """The keys whose holders the gateway lets through: empty files, which it looks for at each request.

    `DIGEST.member`: a clinic that may be connected. `DIGEST.known`: that, or one that awaits approval, or a key that never
    works again: its holder may ask how it stands.

    Parameters
    ----------
    folder : Path
        Made when missing.
    store : ClinicStore
    """

    def __init__(self, folder: Path, store: ClinicStore) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._store, self._lock = folder, store, threading.Lock()
        self._digest = functools.lru_cache(maxsize=10_000)(gateway_digest)

    def update(self) -> None:
        """Make the files equal to the store."""
        with self._lock:
            wanted = {f"{self._digest(key)}.member" for key in self._store.keys().values()}
            wanted |= {f"{self._digest(key)}.known" for key in self._store.known_keys()}
            present = set(os.listdir(self._folder))  # noqa: PTH208 - names alone take a third of the time
            for name in present - wanted:
                (self._folder / name).unlink()
            for name in wanted - present:
                (self._folder / name).touch()


class KeySync:
    """Gives the store's keys to the gateway, sends them to the registry, and retries that in a thread.

    Parameters
    ----------
    gateway : GatewayKeys
    register : callable
        Given a function that returns the keys, clinic to OpenSSH line: makes those of the SuperLink equal to them. Raises
        `RegistryUnreachable`.
    store : ClinicStore
    idle : callable
        Whether no run is under way.
    """

    def __init__(
        self,
        gateway: GatewayKeys,
        register: Callable[[Callable[[], Mapping[str, str]]], object],
        store: ClinicStore,
        idle: Callable[[], bool],
    ) -> None:
        self._gateway, self._register, self._store, self._idle = gateway, register, store, idle
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
        """Send all keys now; whether the SuperLink accepted them. If not, the thread retries until it does."""
        self._gateway.update()
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
