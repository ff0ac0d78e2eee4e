"""Where idle clinics wait to be told that there is a request for them: the server holds their status requests.

A poll of the SuperLink costs some 10 ms of processor there, so that frequent polls of many clinics would fill a core.
"""

import asyncio
import threading
from collections.abc import Callable


class Bell:
    """One status request of each clinic is held at a time; a later one ends the one before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # between the server's event loop and the threads that ring
        self._waiting: dict[str, Callable[[], object]] = {}  # by clinic; ends its wait
        self._rung: set[str] = set()  # clinics that have not been told yet
        self._closed = False

    def ring(self, clinic: str) -> None:
        """There is something for a clinic. One that does not wait is told when it next asks."""
        with self._lock:
            self._rung.add(clinic)
            if wake := self._waiting.get(clinic):
                wake()

    async def wait(self, clinic: str, seconds: float) -> bool:
        """Hold a clinic's request until the bell rings for it, at most for `seconds`; whether it has rung."""
        changed, loop = asyncio.Event(), asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(changed.set)

        with self._lock:
            if before := self._waiting.get(clinic):
                before()
            self._waiting[clinic] = wake
            if self._closed or clinic in self._rung:
                changed.set()
        try:
            async with asyncio.timeout(seconds):
                await changed.wait()
        except TimeoutError:
            pass
        finally:
            with self._lock:
                newest = self._waiting.get(clinic) is wake
                rung = newest and clinic in self._rung
                if newest:
                    del self._waiting[clinic]
                    self._rung.discard(clinic)
        return rung

    def close(self) -> None:
        """End all waits; none begins any more."""
        with self._lock:
            self._closed = True
            for wake in self._waiting.values():
                wake()
