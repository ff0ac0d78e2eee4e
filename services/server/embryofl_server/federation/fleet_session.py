"""One run's use of the fleet: it is recovered whenever it is lost, and every wait ends when the run is halted."""

import logging
import threading
import time

from embryofl_server.federation.fleet import FleetLost, Node
from embryofl_server.federation.run_context import Halted, RunContext
from embryofl_server.runs.log import Run

log = logging.getLogger("embryofl.rounds")

RETRY_FIRST_S, RETRY_MOST_S, RETRY_GROWTH = 0.2, 5.0, 1.6


class FleetSession:
    """A run and the fleet that it trains with.

    Parameters
    ----------
    context : RunContext
    run : Run
    halt : threading.Event
        Once set, every wait here ends with `Halted`.

    Attributes
    ----------
    late : dict of str to str
        Messages of closed exchanges that were never replied to, and their clinics.
    """

    def __init__(self, context: RunContext, run: Run, halt: threading.Event) -> None:
        self.context, self.run, self._halt = context, run, halt
        self.late: dict[str, str] = {}

    def open(self) -> list[str]:
        """Start the fleet, however long it takes; returns the clinics that were new to it."""
        delay, since = RETRY_FIRST_S, time.time()
        while True:
            try:
                return self.context.fleet.recover(self.context.store.keys)
            except FleetLost as exc:
                why = f"the SuperLink cannot be reached ({exc})"
                self.context.progress.wait([], since, 0, "the hub keeps trying", why)
                self.pause(delay)
                delay = min(delay * RETRY_GROWTH, RETRY_MOST_S)

    def close(self, done: int) -> None:
        """End the run on the fleet's side, and show that nothing is under way. `done`: the last complete round."""
        self.context.mailboxes.close()
        self.context.fleet.close()
        self.context.progress.phase("idle", done, self.run.settings.rounds)
        self.context.progress.go_on()

    def recover(self, reason: str) -> None:
        """Start the fleet again. Earlier messages are gone: unanswered requests have to be sent again."""
        log.warning("the SuperLink is lost (%s)", reason)
        self.run.event("link_lost", reason=reason)
        self.context.mailboxes.close()  # clinics have to notice it, too
        since = time.time()
        added = self.open()
        self.late.clear()
        self.run.event("link_back", seconds=round(time.time() - since, 1), enrolled_again=added)

    def nodes(self) -> dict[str, Node]:
        """The clinics that have connected, by name."""
        while True:
            try:
                return self.context.fleet.nodes()
            except FleetLost as exc:
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
