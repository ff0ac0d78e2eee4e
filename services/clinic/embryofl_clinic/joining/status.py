"""How this clinic stands with its hub: suspended and why, last answer refused and why, and what time it is there.

It asks only while it has nothing to do: a hub that waits for this clinic learns so that its request was lost on the way.
"""

import logging
import secrets
import time
from collections.abc import Callable

import httpx
from pydantic import ValidationError

from embryofl.membership import HubContact, MembershipStatus, StatusRequest, status_text, trust_mark
from embryofl_clinic.exporter import TrainerMetrics
from embryofl_clinic.joining.clock import HubClock
from embryofl_clinic.joining.identity import ClinicIdentity, JoinedHub
from embryofl_clinic.joining.others import OthersStatistics
from embryofl_clinic.joining.route import ANY, Route

log = logging.getLogger("embryofl.standing")

EVERY_S = 10.0  # between two questions while nothing is asked of this clinic
SOON_S = 5.0  # after an answer: by then the hub may have refused it
GONE = ("revoked", "left", "refused", "replaced")  # the key never works again


class StatusPoller:
    """Asks the hub and says in the log what has changed.

    Parameters
    ----------
    identity : ClinicIdentity
    membership : JoinedHub
    route : Route
        To the hub.
    clock : HubClock
        Set by what the hub answers.
    metrics : TrainerMetrics
        Told the state.
    federation : OthersStatistics
        Keeps what the hub tells of the other clinics' images.
    on_name : callable, optional
        Told the name that this clinic has at the hub, when it is another one.
    on_link : callable, optional
        Told how the hub is reached and known, with each answer.
    shows : callable, optional
        Whether others may see this clinic's figures on their own, which the hub is told with each question.
    """

    def __init__(
        self,
        identity: ClinicIdentity,
        membership: JoinedHub,
        route: Route,
        clock: HubClock,
        metrics: TrainerMetrics,
        federation: OthersStatistics,
        on_name: Callable[[str], None] = lambda name: None,
        on_link: Callable[[HubContact], None] = lambda link: None,
        shows: Callable[[], bool] = lambda: False,
    ) -> None:
        self._shows = shows
        self._identity, self.membership, self._clock, self._metrics = identity, membership, clock, metrics
        self._on_name, self._on_link, self._name, self._route = on_name, on_link, membership.name, route
        self._federation, self._knows = federation, federation.digest
        self._session = secrets.token_hex(8)  # by which the hub notices a key that is used in two places
        self._next = 0.0
        self._said: tuple[str, str] = ("enrolled", "")
        self._refused = 0.0  # time of the last refusal that was said
        self._off = False

    def soon(self) -> None:
        """An answer was given, or the hub is back: ask in a while whether something was lost or refused."""
        self._next = min(self._next, time.monotonic() + SOON_S)

    def look(self, *, now: bool = False) -> MembershipStatus | None:
        """Ask if it is time to, or `now`; None when it is not, or nothing came back."""
        if not now and time.monotonic() < self._next:
            return None
        self._next = time.monotonic() + EVERY_S
        found = self._ask()
        if found is not None:
            self._say(found)
            if found.link is not None:
                self._on_link(found.link)
        return found

    def _ask(self) -> MembershipStatus | None:
        asked = time.time()
        found = ask_status(
            self._identity,
            self.membership,
            self._route,
            asked + self._clock.offset,
            self._session,
            self._knows,
            self._shows(),
        )
        if found is not None:
            self._clock.set(found.time, asked, time.time())
        return found

    def _say(self, found: MembershipStatus) -> None:
        if self._clock.off != self._off:
            self._off = self._clock.off
            if self._off:
                log.warning(
                    "this machine's clock is %.0f s %s the hub's: the hub's time is used; set the clock right",
                    abs(self._clock.offset),
                    "behind" if self._clock.offset > 0 else "ahead of",
                )
        refused = found.refused
        if refused is not None and refused.time != self._refused:
            self._refused = refused.time
            log.warning(
                "the hub did not take the answer of round %d of %s (%s): %s",
                refused.round,
                refused.run,
                refused.reason,
                refused.words,
            )
        if found.name != self._name:
            log.warning(
                "the coordinator has renamed this clinic: it is %s at the hub now, was %s", found.name, self._name
            )
            self._name = found.name
            self._on_name(found.name)
        if found.others is not None:
            self._federation.take(found.others)
            self._knows = found.others.digest
        self._metrics.standing(found.state)
        if (found.state, found.reason) != self._said:
            self._said = (found.state, found.reason)
            if found.state == "enrolled":
                log.info("this clinic takes part again")
            elif found.state == "waiting":
                log.warning("this clinic waits for the coordinator's approval, and takes part by itself after that")
            elif found.state in GONE:
                log.error("%s", gone_words(found))
            else:
                log.warning(
                    "this clinic is %s: %s It stays connected and takes part again when the coordinator says so",
                    found.state,
                    found.reason.rstrip(".") + ".",
                )


def ask_status(
    identity: ClinicIdentity,
    membership: JoinedHub,
    route: Route,
    asked: float,
    session: str = "",
    knows: str = "",
    shows: bool = False,
) -> MembershipStatus | None:
    """Ask the hub how this clinic stands; None when nothing came back."""
    name, trusts = membership.name, trust_mark(membership.ca)
    proof = identity.sign(status_text(name, asked, session, trusts, shows))
    question = StatusRequest(
        name=name, asked=asked, session=session, trusts=trusts, knows=knows, shows=shows, proof=proof
    )
    try:
        with route.client(10) as client:
            response = client.post(f"https://{ANY}/v1/standing", json=question.model_dump())
        if response.status_code != httpx.codes.OK:
            return None  # the hub does not recognise this key
        return MembershipStatus.model_validate_json(response.content)
    except (httpx.HTTPError, ValidationError) as exc:
        log.debug("the hub does not say how this clinic stands (%s)", type(exc).__name__)
        return None


def gone_words(found: MembershipStatus) -> str:
    """What a clinic whose key never works again is told."""
    day = time.strftime("%d %B %Y", time.gmtime(found.since))
    did = {
        "revoked": "The coordinator has ended this clinic's membership",
        "refused": "The coordinator has not let this clinic in",
        "left": "This clinic has left the federation",
        "replaced": "Another key is in the place of this one",
    }
    if found.state == "replaced":
        return (
            f"{did[found.state]} ({day}). It never works again. If `embryofl-clinic rotate-key` was cut off here, run it "
            "again; if this is a copy of a state folder, or an old one, stop this program and use the newest."
        )
    return (
        f"{did[found.state]} ({day}): {found.reason.rstrip('.')}. Its key never works again, and nothing more is sent. To "
        "join again, ask the coordinator for a new invite and start with an empty state folder. Otherwise this program "
        "can be stopped and removed."
    )
