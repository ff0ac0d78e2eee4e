"""Where a clinic waits for the next request of a masked round, on a signed URL: its request is the reply to the one before.

A masked round has many short exchanges. Through the SuperLink each takes a dozen calls of some 10 ms; here it takes one of
each clinic, which is answered when there is a request. Whatever is lost on the way, the clinic asks again for.
"""

import asyncio
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from embryofl.messages import Delivery
from embryofl_server.federation.fleet import RawReply, error_name

PREFIX = "/v1/step/"
ID = "step-"  # begins the id of each message
WAIT_S = 2.0  # until a clinic is told that there is no request
STALE_S = 2.0  # a clinic that does not ask again within this time does not wait any more


class MailboxClosed(Exception):
    """The clinic finds its next request at the SuperLink."""


def _nobody() -> None:
    """Wakes nobody."""


@dataclass
class _Mailbox:
    clinic: str
    number: int = 0
    text: str = ""
    replied: int = 0
    waiting: int = 0  # requests that wait now
    seen: float = 0.0  # monotonic; when the last one ended
    wake: Callable[[], object] = _nobody


class Mailboxes:
    """One mailbox for each clinic that has sent its keys for the attempt under way.

    Parameters
    ----------
    arrived : threading.Event
        Set whenever there is a reply.
    used : bool (default: True)
        False where the clinics are in this process: they wait nowhere.
    """

    def __init__(self, arrived: threading.Event, *, used: bool = True) -> None:
        self.used = used
        self._arrived, self._lock = arrived, threading.Lock()  # between the server's event loop and the round loop
        self._boxes: dict[str, _Mailbox] = {}  # by name in the URL
        self._replies: list[RawReply] = []

    def open(self, clinic: str) -> str:
        """The path of the mailbox where a clinic waits, or of a new one: unguessable. That takes the place of the clinic's
        others as soon as the clinic waits there. "" if mailboxes are not used."""
        if not self.used:
            return ""
        with self._lock:
            name = self._waits_at(clinic)
            if not name:
                name = secrets.token_hex(16)
                self._drop(clinic, lambda box: not box.seen)
                self._boxes[name] = _Mailbox(clinic)
        return PREFIX + name

    def close(self, clinic: str = "") -> None:
        """Close the mailboxes of a clinic, or all: whoever waits there is sent away."""
        with self._lock:
            self._drop(clinic, lambda box: True)

    def send(self, clinic: str, text: str, *, told: bool) -> str:
        """Put a request into the mailbox where a clinic waits; returns the message's id. If it waits nowhere, returns ""
        and closes where it has waited: the clinic finds its request at the SuperLink.

        `told`: the clinic has replied to the request with its mailbox's address, so it waits there, or will in a moment.
        """
        with self._lock:
            name = self._waits_at(clinic, told=told)
            if not name:
                self._drop(clinic, lambda box: told or bool(box.seen))
                return ""
            box = self._boxes[name]
            box.number, box.text = box.number + 1, text
            box.wake()
            return f"{ID}{name}-{box.number}"

    def _waits_at(self, clinic: str, *, told: bool = False) -> str:
        for name, box in self._boxes.items():
            fresh = box.waiting or time.monotonic() - box.seen < STALE_S
            if box.clinic == clinic and (fresh if box.seen else told):
                return name
        return ""

    def _drop(self, clinic: str, which: Callable[[_Mailbox], bool]) -> None:
        for name, box in [*self._boxes.items()]:
            if clinic in ("", box.clinic) and which(box):
                self._boxes.pop(name).wake()

    @property
    def filled(self) -> bool:
        """Whether there are replies."""
        return bool(self._replies)

    def replies(self) -> list[RawReply]:
        """The replies that have arrived; each is returned once."""
        with self._lock:
            replies, self._replies = self._replies, []
        return replies

    async def exchange(self, path: str, done: Delivery) -> Delivery | None:
        """Take a clinic's reply, and wait for its next request; None if there is none yet.

        Raises
        ------
        MailboxClosed
        """
        name = path.removeprefix(PREFIX)
        changed, loop = asyncio.Event(), asyncio.get_running_loop()
        with self._lock:
            box = self._boxes.get(name)
            if box is None:
                raise MailboxClosed
            if not box.seen:  # the clinic has the newest address: it waits at no other
                self._drop(box.clinic, lambda other: other is not box)
            if done.number == box.number > box.replied:
                box.replied = box.number
                error = done.error and error_name(done.error)
                self._replies.append(RawReply(f"{ID}{name}-{box.number}", done.text, error))
                self._arrived.set()
            box.wake()  # an earlier request of the clinic, which it has given up
            box.wake = wake = lambda: loop.call_soon_threadsafe(changed.set)
            box.waiting += 1
            box.seen = time.monotonic()
        try:
            if not box.number > done.number:
                async with asyncio.timeout(WAIT_S):
                    await changed.wait()
        except TimeoutError:
            return None
        finally:
            with self._lock:
                box.waiting -= 1
                box.wake = _nobody if box.wake is wake else box.wake
                box.seen = time.monotonic()
        if self._boxes.get(name) is not box:
            raise MailboxClosed
        return Delivery(number=box.number, text=box.text) if box.number > done.number else None
