"""The trainer's status requests: is this clinic suspended, was its last reply rejected, what time is it at the hub?

It asks only while it has nothing to do: a hub that waits for this clinic then notices that its request was lost. The hub
holds such a request until it has work for this clinic, so that nobody has to ask often.
"""

import logging
import secrets
import threading
import time
from pathlib import Path

from embryofl.errors import with_code
from embryofl.membership import MembershipStatus, SignedContact
from embryofl_clinic.joining.client import HubClient
from embryofl_clinic.joining.others import load_others, save_others
from embryofl_clinic.texts import texts

log = logging.getLogger("embryofl.status")

EVERY_S = 10.0  # between two requests while the hub sends nothing; it may hold each that long
POLL_FAST_S, POLL_SLOW_S, POLL_GROWTH = 0.1, 2.0, 1.1  # pauses of a clinic without such a request, and their growth
STOP_S = 0.5  # between two looks whether to stop, while the hub holds a request
SOON_S = 5.0  # after a reply: by then the hub may have rejected it
GONE = ("revoked", "left", "refused", "replaced")  # the key never works again


class StatusPoller:
    """Asks the hub, keeps the other clinics' statistics, and logs what has changed.

    Parameters
    ----------
    client : HubClient
    state_dir : Path
    """

    def __init__(self, client: HubClient, state_dir: Path) -> None:
        self._client, self._state_dir = client, state_dir
        others = load_others(state_dir)
        self._others_digest = others.digest if others else ""
        self._session = secrets.token_hex(8)  # the hub uses it to detect a key in use by two processes
        self._next = self._next_held = 0.0
        self._pause = POLL_FAST_S
        self._last_state: tuple[str, str] = ("enrolled", "")
        self._last_rejection = 0.0
        self._clock_off = False
        self._unsigned: SignedContact | None = None
        self._last_refusal = ""

    def poll_soon(self) -> None:
        """A reply was sent, or the hub is back: ask shortly whether something was lost or rejected."""
        self._pause = POLL_FAST_S
        self._next = min(self._next, time.monotonic() + SOON_S)

    def poll(self, *, now: bool = False) -> MembershipStatus | None:
        """Ask if it is time to, or `now`; None when it is not, or no valid response came back."""
        if not now and time.monotonic() < self._next:
            return None
        return self._noted(self._client.ask_status(self._session, self._others_digest))

    def wait_for_work(self, stop: threading.Event) -> MembershipStatus | None:
        """Ask with a request that the hub holds until there is work, `EVERY_S` at most. If it did not hold the last one,
        pause instead until that time is over, each time for longer. None without a valid response or if `stop` is set."""
        if time.monotonic() < self._next_held:
            stop.wait(self._pause)
            self._pause = min(self._pause * POLL_GROWTH, POLL_SLOW_S)
            return None
        self._next_held = time.monotonic() + EVERY_S
        answers: list[MembershipStatus | None] = []

        def ask() -> None:
            answers.append(self._client.ask_status(self._session, self._others_digest, EVERY_S))

        asking = threading.Thread(target=ask, name="status", daemon=True)  # it cannot be interrupted
        asking.start()
        while asking.is_alive() and not stop.is_set():
            asking.join(STOP_S)
        status = self._noted(answers[0] if answers else None)
        if status is not None and status.work:
            self._next_held, self._pause = time.monotonic() + POLL_FAST_S, POLL_FAST_S
        return status

    def _noted(self, status: MembershipStatus | None) -> MembershipStatus | None:
        self._next = time.monotonic() + EVERY_S
        if self._client.rejected != self._last_refusal:
            self._last_refusal = self._client.rejected
            if self._last_refusal:
                log.error("the hub does not work with this version: %s", self._last_refusal)
        if status is not None:
            if status.others is not None:
                save_others(self._state_dir, status.others)
                self._others_digest = status.others.digest
            self._log_changes(status)
        return status

    def log_unsigned_contact(self, signed: SignedContact) -> None:
        """A contact came that this clinic does not believe: said once for each."""
        if signed != self._unsigned:
            self._unsigned = signed
            text = (
                "the hub names addresses (%s) and a certificate authority that no authority trusted by this clinic has "
                "signed, or that are older than those known here. Nothing has changed. Somebody may pose as the hub: "
                "inform the coordinator"
            )
            log.error(with_code("C7", text), ", ".join(signed.contact.hubs))

    def _log_changes(self, status: MembershipStatus) -> None:
        clock = self._client.clock
        if clock.off and not self._clock_off:
            log.warning(
                with_code(
                    "C5", "this machine's clock is %.0f s %s the hub's: the hub's time is used; correct this clock"
                ),
                abs(clock.offset),
                "behind" if clock.offset > 0 else "ahead of",
            )
        self._clock_off = clock.off
        rejected = status.refused
        if rejected is not None and rejected.time != self._last_rejection:
            self._last_rejection = rejected.time
            log.warning(
                "the hub rejected the reply of round %d of %s (%s): %s",
                rejected.round,
                rejected.run,
                rejected.reason,
                rejected.words,
            )
        if (status.state, status.reason) != self._last_state:
            self._last_state = (status.state, status.reason)
            level = logging.INFO if status.state == "enrolled" else logging.WARNING
            level = logging.ERROR if status.state in GONE else level
            log.log(level, "%s", describe_state(status.state, status.reason, status.since))


def describe_state(state: str, reason: str, since: float) -> str:
    """A clinic's state as its IT person reads it: what it means and what to do. `since` is Unix time in seconds."""
    done = texts.gone.get(state, texts.gone.other).format(state=state)
    day = time.strftime("%d %B %Y", time.gmtime(since))
    text = str(texts.state.get(state, texts.state.gone).format(done=done, day=day, reason=reason.rstrip(".")))
    return text if state == "enrolled" else with_code({"waiting": "J5", "suspended": "J6"}.get(state, "J7"), text)
