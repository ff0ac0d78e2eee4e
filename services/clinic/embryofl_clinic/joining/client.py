"""A member's signed requests to its hub: status, leaving, a new key. Trainer and commands both use it."""

import logging
import time
from pathlib import Path

import httpx
from pydantic import ValidationError

from embryofl.errors import UserError
from embryofl.invite import HUB_NAME
from embryofl.membership import MembershipStatus, StatusRequest, trust_mark
from embryofl.protocol import our_program
from embryofl.schema import Strict
from embryofl_clinic.joining.clock import HubClock
from embryofl_clinic.joining.enrol import rejection_message
from embryofl_clinic.joining.identity import ClinicIdentity, JoinedHub
from embryofl_clinic.joining.route import Route
from embryofl_clinic.joining.trouble import CONNECT_S
from embryofl_clinic.policy.rules import released_metrics, shows_metrics

log = logging.getLogger("embryofl.status")

TIMEOUT_S = 10.0  # without a byte of a status


class HubClient:
    """One clinic's side of its membership.

    Parameters
    ----------
    identity : ClinicIdentity
    hub : JoinedHub
        What the clinic knows of its hub; replaced by `move_to`.
    state_dir : Path
        With the clinic's policy.
    first : str (default: "")
        Addresses (host:port, comma-separated) to try before the hub's own.

    Attributes
    ----------
    clock : HubClock
        Set by every status.
    rejected : str
        Why the hub has rejected the last status request, in its words: it does not work with this version. "" otherwise.
    """

    def __init__(self, identity: ClinicIdentity, hub: JoinedHub, state_dir: Path, first: str = "") -> None:
        self.identity, self.hub, self.route = identity, hub, Route(hub, first, identity.certificate)
        self.clock, self._state_dir, self.rejected = HubClock(), state_dir, ""
        self._http = self.route.client(TIMEOUT_S)

    def move_to(self, hub: JoinedHub) -> None:
        """Use another name, address or CA from now on."""
        self.hub = hub
        self.route.update(hub)

    def ask_status(self, session: str = "", others: str = "", hold: float = 0.0) -> MembershipStatus | None:
        """Ask for this clinic's status; None when no valid response came back.

        Parameters
        ----------
        session : str (default: "")
            Identifies the trainer's process.
        others : str (default: "")
            Digest of the other clinics' statistics that are already stored.
        hold : float (default: 0)
            Seconds that the hub may wait with its reply, until there is a request for this clinic.
        """
        asked, shows, trusts = time.time(), shows_metrics(self._state_dir), trust_mark(self.hub.ca)
        name, now = self.hub.name, self.clock.now()
        unsigned = StatusRequest(
            name=name,
            asked=now,
            session=session,
            trusts=trusts,
            knows=others,
            shows=shows,
            metrics=released_metrics(self._state_dir),
            program=our_program(),
            hold=hold,
            proof="",
        )
        request = unsigned.model_copy(update={"proof": self.identity.sign(unsigned.text())})
        self.rejected = ""
        try:
            limits = httpx.Timeout(TIMEOUT_S + hold, connect=CONNECT_S)
            response = self._http.post(f"https://{HUB_NAME}/v1/standing", json=request.model_dump(), timeout=limits)
            status = MembershipStatus.model_validate_json(response.raise_for_status().content)
        except (httpx.HTTPError, ValidationError) as exc:
            if isinstance(exc, httpx.HTTPStatusError) and exc.response.status_code == httpx.codes.BAD_REQUEST:
                self.rejected = rejection_message(exc.response)
            log.debug("no status from the hub (%s)", type(exc).__name__)
            return None
        received = time.time()
        self.clock.set(status.time, received if hold else asked, received)
        return status

    def hub_time(self) -> float:
        """Unix time at the hub, which has just been asked: what is signed with it is fresh. This machine's if it does not
        reply."""
        self.ask_status()
        return self.clock.now()

    def post(self, path: str, request: Strict) -> int:
        """Send a signed request. Returns its size in bytes.

        Raises
        ------
        UserError
            When the hub does not reply, or rejects it.
        """
        try:
            with self.route.client(20) as client:
                response = client.post(f"https://{HUB_NAME}{path}", json=request.model_dump())
        except (httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError):
            raise UserError(
                "C1",
                f"The hub at {self.route.hub} closed the connection before it replied, so this may or may not have been "
                "done. Run the command again: that does no harm.",
            ) from None
        except httpx.TransportError:
            raise UserError(
                "C1",
                f"The hub does not reply ({self.route.troubles()}), so nothing has changed. Try again later. To send "
                "nothing more, stop the trainer.",
            ) from None
        if response.status_code != httpx.codes.OK:
            raise UserError("C6", f"The hub at {self.route.hub} rejected the request: {rejection_message(response)}")
        return len(response.request.content)
